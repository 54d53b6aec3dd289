//! Sets of completion indexes, written as `0-2,5`.

use std::collections::BTreeSet;

pub(super) fn parse(text: Option<&str>) -> BTreeSet<i32> {
    let ranges = text.unwrap_or_default().split(',').filter(|part| !part.is_empty());
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse::<i32>().ok()?..=last.trim().parse::<i32>().ok()?)
    };
    ranges.filter_map(range).flatten().collect()
}

pub(super) fn text(indexes: &BTreeSet<i32>) -> String {
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for &index in indexes {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            _ => runs.push((index, index)),
        }
    }
    let run = |&(first, last): &(i32, i32)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    };
    runs.iter().map(run).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_round_trips(indexes in prop::collection::btree_set(0..60i32, 0..40)) {
            prop_assert_eq!(parse(Some(&text(&indexes))), indexes);
        }
    }

    #[test]
    fn runs_are_short() {
        assert_eq!(text(&BTreeSet::from([0, 1, 2, 4, 6, 7])), "0-2,4,6,7");
        assert!(parse(None).is_empty());
    }
}
