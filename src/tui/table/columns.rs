//! What columns a table has, and which of them fit.

/// How a column's cells compare and where they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text, compared as bytes.
    Text,
    /// A number, perhaps followed by text, compared by the number.
    Number,
    /// A moment, shown as its age: the n-th of the row's times.
    Time(usize),
    /// A number, and how long ago it last grew, if it did: the n-th of the row's times.
    NumberSince(usize),
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Heading, in capitals.
    pub name: String,
    /// How it compares.
    pub kind: ColumnKind,
    /// Shown in wide tables only.
    pub wide: bool,
}

impl Column {
    /// A column called `name` as a printer calls it (`Restarts`, `Nominated Node`); `of` is its OpenAPI type.
    pub fn new(name: &str, of: &str, wide: bool) -> Self {
        let name = name.to_uppercase();
        let number =
            matches!(of, "integer" | "number") || matches!(name.as_str(), "RESTARTS" | "UP-TO-DATE" | "AVAILABLE" | "COUNT" | "DATA");
        Self { name, kind: if number { ColumnKind::Number } else { ColumnKind::Text }, wide }
    }

    /// Whether a filter's `term` names this column.
    pub fn is_called(&self, term: &str) -> bool {
        let plain = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>();
        plain(&self.name) == plain(term)
    }

    /// Numbers and ages stand at the right.
    pub fn is_right(&self) -> bool {
        self.kind != ColumnKind::Text
    }

    /// What goes first when a terminal is narrow: the highest.
    fn spare(&self, index: usize) -> usize {
        match self.name.as_str() {
            "NAME" => 0,
            "STATUS" | "STATE" | "READY" | "NAMESPACE" | "REASON" | "MESSAGE" => 1,
            "AGE" | "LAST SEEN" => 2,
            "RESTARTS" | "OBJECT" => 3,
            "TYPE" => 4,
            _ => 10 + index,
        }
    }
}

/// Widest a column gets before a wide table is asked for.
const CAP: usize = 48;

/// The age stands last, as in k9s, whatever else there is.
fn age_last(columns: &[Column], mut shown: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    let name = |at: usize| columns[at].name.as_str();
    if shown.first().is_some_and(|(first, _)| name(*first) == "NAME")
        && let Some(at) = shown.iter().position(|(index, _)| name(*index) == "AGE")
    {
        let age = shown.remove(at);
        shown.push(age);
    }
    shown
}

/// Indices and widths of the columns that fit in `width`, `wanted` being the widest cell of each. The name always stays.
pub fn fitting(columns: &[Column], wanted: &[usize], wide: bool, hidden: impl Fn(usize) -> bool, width: usize) -> Vec<(usize, usize)> {
    let mut shown: Vec<(usize, usize)> = columns
        .iter()
        .enumerate()
        .filter(|(index, column)| (wide || !column.wide) && !hidden(*index))
        .map(|(index, column)| {
            let cell = wanted.get(index).copied().unwrap_or_default();
            let cap = if index == 0 || column.name == "NAME" {
                80
            } else if wide || column.name == "MESSAGE" {
                200
            } else {
                CAP
            };
            (index, cell.clamp(column.name.chars().count(), cap.max(column.name.chars().count())))
        })
        .collect();
    let total = |shown: &[(usize, usize)]| shown.iter().map(|(_, width)| width + 2).sum::<usize>();
    while shown.len() > 1 && total(&shown) > width + 2 {
        // running text, and what it is about, may be cut instead of dropped
        let mut over = total(&shown) - (width + 2);
        let mut cut = shown.clone();
        // what a message says is worth more than what a table has beside its own columns
        let beside = shown.iter().any(|(index, _)| columns[*index].spare(*index) >= 10);
        for (name, least) in [("MESSAGE", if beside { 32 } else { 16 }), ("OBJECT", 18), ("ALIASES", 12)] {
            if let Some((_, wide)) = cut.iter_mut().find(|(index, _)| columns[*index].name == name) {
                let by = over.min(wide.saturating_sub(least));
                *wide -= by;
                over -= by;
            }
        }
        if over == 0 {
            return age_last(columns, cut);
        }
        let Some(spare) = (0..shown.len()).max_by_key(|&at| columns[shown[at].0].spare(shown[at].0)) else { break };
        if columns[shown[spare].0].spare(0) == 0 {
            break;
        }
        shown.remove(spare);
    }
    if shown.len() == 1 {
        shown[0].1 = shown[0].1.min(width);
    }
    age_last(columns, shown)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    fn pod_columns() -> Vec<Column> {
        ["Name", "Ready", "Status", "Restarts", "Age", "IP", "Node"].iter().map(|name| Column::new(name, "string", false)).collect()
    }

    #[test]
    fn narrow_tables_drop_the_least_telling_columns() {
        let columns = pod_columns();
        let wanted = [20, 5, 16, 3, 4, 12, 8];
        let names = |width| -> Vec<String> {
            fitting(&columns, &wanted, false, |_| false, width).iter().map(|(index, _)| columns[*index].name.clone()).collect()
        };
        assert_eq!(names(120).len(), 7);
        assert_eq!(names(62), ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]);
        assert_eq!(names(20), ["NAME"]);
    }

    proptest! {
        #[test]
        fn the_name_stays_and_nothing_is_wider_than_the_screen(width in 10usize..200, wanted in proptest::collection::vec(1usize..90, 7)) {
            let shown = fitting(&pod_columns(), &wanted, false, |_| false, width);
            prop_assert_eq!(shown[0].0, 0);
            prop_assert!(shown.iter().map(|(_, w)| w + 2).sum::<usize>() <= width + 2);
        }
    }
}
