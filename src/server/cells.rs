//! Where Tables meet `present`.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use coracle_api::kinds::Kind;
use coracle_api::schema;
use jiff::Timestamp;
use parking_lot::RwLock;
use serde_json::{Value, json};

static COLUMNS: LazyLock<RwLock<HashMap<String, Arc<Value>>>> = LazyLock::new(RwLock::default);

/// The columns of a kind's Table.
pub(crate) fn columns(kind: &Kind) -> Value {
    if let Some(custom) = &kind.custom {
        let name = coracle_present::columns(&kind.group, &kind.kind).first().map(|column| definition(kind, column));
        return custom.columns(name.unwrap_or_default());
    }
    let name = format!("{}/{}", kind.group, kind.kind);
    if let Some(known) = COLUMNS.read().get(&name) {
        return known.as_ref().clone();
    }
    let columns = coracle_present::columns(&kind.group, &kind.kind);
    let columns: Value = columns.iter().map(|column| definition(kind, column)).collect();
    COLUMNS.write().insert(name, Arc::new(columns.clone()));
    columns
}

fn definition(kind: &Kind, column: &coracle_present::Column) -> Value {
    let mut definition = column.definition();
    if let Some((ty, field)) = column.field()
        && let Some(description) = schema::description(&kind.schema, ty, field).or_else(|| schema::description(ty, ty, field))
    {
        definition["description"] = json!(description);
    }
    definition
}

/// Whether upstream prints the kind with its default printer, which gives null, not an empty list, where there are no rows.
pub(crate) fn is_plain(kind: &Kind) -> bool {
    if kind.custom.is_some() {
        return false;
    }
    let columns = coracle_present::columns(&kind.group, &kind.kind);
    columns.len() == 2 && columns[1].name == "Created At"
}

/// The cells of an object's row.
pub(crate) fn cells(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    if let Some(custom) = &kind.custom {
        return custom.cells(object, |at| coracle_present::text::duration(now.as_second() - at.as_second()));
    }
    coracle_present::cells(&kind.group, &kind.kind, object, now)
}
