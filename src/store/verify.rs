//! Whether the store in a file is whole. Looks at every record and changes nothing, not even what a start would repair.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{Builder, Database};

use crate::disk::{Disk, Loaded, Options};
use crate::entry::Entry;
use crate::error::StoreError;
use crate::journal::{Backend, Journal};
use crate::overlay::Overlay;
use crate::tables::{self, Standing, guarded};

/// One thing looked at.
#[derive(Debug)]
pub struct Check {
    /// What.
    pub subject: &'static str,
    /// What is there, in words, or what is wrong with it.
    pub found: Result<String, StoreError>,
}

/// Looks at the store at `path`, which no process may have open: its tables, its journal, that revisions ascend without a hole,
/// and that every object is what `decodes` accepts. What depends on something that is damaged is not looked at.
pub fn verify(path: &Path, decodes: impl Fn(&Entry) -> Result<(), String>) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut check = |subject, found: Result<String, StoreError>| {
        let whole = found.is_ok();
        checks.push(Check { subject, found });
        whole
    };
    let standing = match guarded(|| tables(path)) {
        Ok((standing, says)) => {
            check("tables", Ok(says));
            standing
        }
        Err(error) => {
            check("tables", Err(error));
            return checks;
        }
    };
    if !check("journal", guarded(|| journal(path, standing))) {
        return checks;
    }
    match guarded(|| state(path)) {
        Err(error) => drop(check("revisions", Err(error))),
        Ok(loaded) => {
            check("revisions", Ok(format!("history from {} to {}, without a hole", standing.folded, loaded.revision)));
            check("objects", objects(&loaded, decodes));
        }
    }
    checks
}

fn file(path: &Path) -> Result<Overlay, StoreError> {
    let damaged = |error: std::io::Error| StoreError::Damaged { what: format!("{}: {error}", path.display()) };
    std::fs::File::open(path).and_then(Overlay::new).map_err(damaged)
}

fn tables(path: &Path) -> Result<(Standing, String), StoreError> {
    let left_open = Arc::new(AtomicBool::new(false));
    let noted = left_open.clone();
    let mut builder = Builder::new();
    builder.set_repair_callback(move |_| noted.store(true, Ordering::Release));
    let mut database = builder.create_with_backend(file(path)?).map_err(redb::Error::from)?;
    if !database.check_integrity().map_err(redb::Error::from)? {
        return Err(StoreError::Damaged { what: "a page of its tables is not what was written".into() });
    }
    let standing = tables::standing(&database)?;
    let how = if left_open.load(Ordering::Acquire) { "not closed by its last process" } else { "closed" };
    Ok((standing, format!("every page is what was written; {how}")))
}

fn journal(path: &Path, standing: Standing) -> Result<String, StoreError> {
    let left = Journal::open(Arc::new(file(&tables::journal_of(path))?), 0, standing.journal)?.read(standing.last)?;
    Ok(match left.last() {
        Some(last) => format!("{} writes up to revision {} that the tables do not have yet", left.len(), last.entry.revision),
        None => "the tables have everything".to_owned(),
    })
}

/// All of it, as a start reads it.
fn state(path: &Path) -> Result<Loaded, StoreError> {
    let path = path.to_owned();
    let open = move |builder: &mut Builder| -> Result<(Database, Backend), StoreError> {
        let database = builder.create_with_backend(file(&path)?).map_err(redb::Error::from)?;
        Ok((database, Arc::new(file(&tables::journal_of(&path))?)))
    };
    Disk::open(Box::new(open), Options::default())?.load()
}

fn objects(loaded: &Loaded, decodes: impl Fn(&Entry) -> Result<(), String>) -> Result<String, StoreError> {
    for entry in loaded.map.values() {
        decodes(entry).map_err(|what| StoreError::Damaged { what: format!("{}: {what}", entry.key) })?;
    }
    Ok(format!("{} can be read", loaded.map.len()))
}
