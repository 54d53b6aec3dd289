//! What stands in a table, for whoever wants it as text.

use jiff::Timestamp;

use super::TableView;
use crate::shared::Shared;
use crate::table::Column;

impl TableView {
    /// Headings and cells of the row under the cursor.
    pub fn cells(&self, now: Timestamp) -> Vec<(String, String)> {
        let Some(row) = self.current() else { return Vec::new() };
        self.rows.columns().iter().enumerate().map(|(index, column)| (column.name.clone(), row.shown(index, column, now))).collect()
    }

    /// Columns of the kind, and whether each is shown.
    pub fn columns_shown(&self, shared: &Shared) -> Vec<(String, bool)> {
        let hidden = shared.hidden_columns.get(&self.kind.plural);
        let shown = |column: &Column| hidden.map_or(shared.wide || !column.wide, |hidden| !hidden.contains(&column.name));
        self.rows.columns().iter().map(|column| (column.name.clone(), shown(column))).collect()
    }

    /// The table as comma-separated values: what is visible, all columns.
    pub fn csv(&self, shared: &Shared) -> String {
        let quoted =
            |cell: &str| if cell.contains([',', '"', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() };
        let namespaces = self.kind.namespaced;
        let heads =
            namespaces.then(|| "NAMESPACE".to_owned()).into_iter().chain(self.rows.columns().iter().map(|column| quoted(&column.name)));
        let mut text = heads.collect::<Vec<_>>().join(",");
        text.push('\n');
        for row in self.rows.iter() {
            let cells = self.rows.columns().iter().enumerate().map(|(index, column)| quoted(&row.shown(index, column, shared.now)));
            let namespace = namespaces.then(|| quoted(row.namespace()));
            text.push_str(&namespace.into_iter().chain(cells).collect::<Vec<_>>().join(","));
            text.push('\n');
        }
        text
    }
}
