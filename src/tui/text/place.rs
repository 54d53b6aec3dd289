//! Where the cursor is in a YAML text, even one that is only half typed.

use super::schema::Step;

/// Where the cursor is in a YAML text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The map the line belongs to.
    pub map: Vec<Step>,
    /// The key of the line, as far as it is typed.
    pub key: String,
    /// What stands behind the colon up to the cursor; `None` while the key is typed.
    pub value: Option<String>,
    /// Column of the key.
    pub indent: usize,
}

impl Place {
    /// Path of the line's own field.
    pub fn field(&self) -> Vec<Step> {
        let mut path = self.map.clone();
        if !self.key.is_empty() {
            path.push(Step::Field(self.key.clone()));
        }
        path
    }
}

/// A line taken apart: how many list items begin on it and where, where its key begins, the key, and whether a colon follows.
fn parts(line: &str) -> (Vec<usize>, usize, &str, bool) {
    let mut at = line.len() - line.trim_start_matches(' ').len();
    let mut items = Vec::new();
    while line[at..].starts_with("- ") || &line[at..] == "-" {
        items.push(at);
        at += 1;
        at += line[at..].len() - line[at..].trim_start_matches(' ').len();
    }
    let rest = &line[at..];
    let colon = rest.find(": ").or_else(|| rest.ends_with(':').then(|| rest.len() - 1));
    let key = rest[..colon.unwrap_or(rest.len())].trim_matches(['"', '\'']);
    (items, at, key, colon.is_some())
}

/// Where row and column (both from 0, in characters) of a text are; `None` in comments and outside of block style.
pub fn place(lines: &[String], row: usize, column: usize) -> Option<Place> {
    let line = lines.get(row)?;
    let typed: String = line.chars().take(column).collect();
    if line.trim_start().starts_with('#') || line.trim_start().starts_with("---") {
        return None;
    }
    let (items, own, key, _) = parts(line);
    // on an empty line the cursor says how deep it is
    let indent = if line.trim().is_empty() { column } else { own };
    let value = typed.get(indent..).and_then(|text| text.split_once(':')).map(|(_, value)| value.trim_start().to_owned());
    let key = if value.is_some() { key.to_owned() } else { typed.get(indent..).unwrap_or_default().trim_end_matches(':').to_owned() };
    let mut map = Vec::new();
    // what begins left of it above is what it belongs to, nearest last
    let mut limit = indent;
    for item in items.iter().rev() {
        map.push(Step::Item);
        limit = *item;
    }
    let mut inclusive = !items.is_empty();
    for above in lines[..row].iter().rev() {
        if limit == 0 && !inclusive || above.trim_start().starts_with("---") {
            break;
        }
        if above.trim().is_empty() || above.trim_start().starts_with('#') {
            continue;
        }
        let (items, at, name, colon) = parts(above);
        let begins_below = at < limit || (inclusive && at == limit && items.is_empty());
        if begins_below && colon {
            map.push(Step::Field(name.to_owned()));
            limit = at;
            inclusive = false;
            for item in items.iter().rev() {
                map.push(Step::Item);
                limit = *item;
                inclusive = true;
            }
        } else if at == limit && !inclusive && !items.is_empty() {
            // another key of the map whose first key stands behind a dash
            for item in items.iter().rev() {
                map.push(Step::Item);
                limit = *item;
                inclusive = true;
            }
        }
    }
    map.reverse();
    Some(Place { map, key, value, indent })
}

/// The last line of the block that begins on a line; the line itself if it begins none.
pub fn block_end(lines: &[String], row: usize) -> usize {
    let depth = |line: &str| line.len() - line.trim_start().len();
    let Some(own) = lines.get(row).filter(|line| !line.trim().is_empty()) else { return row };
    let (items, key_at, ..) = parts(own);
    let is_list_head = items.is_empty() && own.trim_end().ends_with(':');
    let own = depth(own);
    let mut end = row;
    for (index, line) in lines.iter().enumerate().skip(row + 1) {
        if line.trim().is_empty() {
            continue;
        }
        let at = depth(line);
        // items of a list may stand as deep as its key
        let belongs = at > own || (is_list_head && at == key_at && line.trim_start().starts_with('-'));
        if !belongs {
            break;
        }
        end = index;
    }
    end
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;

    use super::*;

    const TEXT: &str = "\
kind: Deployment
metadata:
  name: web
  labels:
    app: web
spec:
  replicas: 2
  template:
    containers:
    - name: main
      image: web:1
      ports:
      - containerPort: 80
    - image: other
      imag
  pau
";

    fn shown(path: &[Step]) -> String {
        path.iter()
            .map(|step| match step {
                Step::Field(name) => format!(".{name}"),
                Step::Item => "[]".to_owned(),
            })
            .collect()
    }

    #[rstest]
    #[case(0, 2, "", "ki", None)]
    #[case(2, 8, ".metadata", "name", Some(""))]
    #[case(4, 6, ".metadata.labels", "ap", None)]
    #[case(6, 13, ".spec", "replicas", Some("2"))]
    #[case(8, 6, ".spec.template", "co", None)]
    #[case(9, 8, ".spec.template.containers[]", "na", None)]
    #[case(10, 18, ".spec.template.containers[]", "image", Some("web:1"))]
    #[case(12, 10, ".spec.template.containers[].ports[]", "co", None)]
    #[case(13, 8, ".spec.template.containers[]", "im", None)]
    #[case(14, 10, ".spec.template.containers[]", "imag", None)]
    #[case(15, 5, ".spec", "pau", None)]
    fn the_cursor_is_in_a_map_at_a_key(
        #[case] row: usize,
        #[case] column: usize,
        #[case] map: &str,
        #[case] key: &str,
        #[case] value: Option<&str>,
    ) {
        let lines: Vec<String> = TEXT.lines().map(str::to_owned).collect();
        let place = place(&lines, row, column).unwrap();
        assert_eq!((shown(&place.map).as_str(), place.key.as_str(), place.value.as_deref()), (map, key, value));
    }

    #[test]
    fn blocks_end_where_something_as_deep_begins() {
        let lines: Vec<String> = TEXT.lines().map(str::to_owned).collect();
        for (row, end) in [(0, 0), (1, 4), (5, 15), (8, 14), (9, 12), (11, 12), (13, 14)] {
            assert_eq!(block_end(&lines, row), end, "{}", lines[row]);
        }
    }
}
