//! Where the rows of a table come from, and what becomes of them.

use std::sync::Arc;

use super::{Choice, TableView};
use crate::keep::usage;
use crate::message::Effect;
use crate::shared::{Level, Namespaces, Shared};
use crate::source::watch::{Query, RowEvent};
use crate::table::{Row, Sort};

impl TableView {
    pub(super) fn query(&self, shared: &Shared) -> Query {
        let mut query = match &self.choice {
            Choice::Namespaces | Choice::Made(_) => Query::all(self.kind.clone(), shared.namespaces.single().map(str::to_owned)),
            Choice::Fixed { namespace, labels, fields, .. } => {
                Query { labels: labels.clone(), fields: fields.clone(), ..Query::all(self.kind.clone(), namespace.clone()) }
            }
        };
        query.columns = shared.config.columns(&self.kind, query.namespace.as_deref());
        query.revision.clone_from(&self.revision);
        query.measured = shared.is_measured() && self.revision.is_none();
        if let Some(labels) = &self.rows.filter().labels {
            query.labels = Some(match query.labels {
                Some(own) => format!("{own},{labels}"),
                None => labels.clone(),
            });
        }
        query
    }

    pub(super) fn subscribe(&mut self, shared: &mut Shared) {
        shared.cancel(&mut self.sub);
        if let Choice::Made(made) = &self.choice {
            let work = (made.work)(shared);
            self.sub = Some(shared.subscribe(|sub| Effect::Work(sub, work)));
            return;
        }
        let query = self.query(shared);
        self.sub = Some(shared.subscribe(|sub| Effect::Watch(sub, query)));
    }

    pub(super) fn take(&mut self, event: RowEvent, shared: &mut Shared) {
        match event {
            RowEvent::Listing(columns) => {
                if self.rows.columns() != columns {
                    let first = self.rows.columns().is_empty();
                    self.rows.set_columns(columns);
                    // what happened last is what one looks at events for
                    let sort = match &self.choice {
                        Choice::Made(made) => made.sort,
                        _ => (self.kind.kind == "Event").then_some(("LAST SEEN", false)),
                    };
                    let configured = shared.config.view(&self.kind, shared.namespaces.single()).and_then(|view| view.sort_column.clone());
                    let configured =
                        configured.as_deref().map(|text| text.rsplit_once(':').map_or((text, false), |(name, way)| (name, way == "desc")));
                    let sort = configured.or(sort);
                    if let Some((name, descending)) = sort.filter(|_| first) {
                        let column = self.rows.columns().iter().position(|column| column.name == name);
                        self.rows.set_sort(Sort { column, descending });
                    }
                    if let Err(message) = self.refilter(shared) {
                        shared.say(Level::Warning, format!("filter: {message}"));
                    }
                }
                self.rows.begin_listing();
                self.trouble = None;
                shared.dirty = true;
            }
            RowEvent::Changed(mut rows, gone) => {
                if let (Choice::Namespaces | Choice::Made(_), Namespaces::Some(_)) = (&self.choice, &shared.namespaces)
                    && self.kind.namespaced
                {
                    rows.retain(|row| shared.namespaces.contain(row.namespace()));
                }
                if self.is_measured() {
                    let filled = |row: Row| shared.usage.fill(&self.kind, self.rows.columns(), &row).unwrap_or(row);
                    rows = rows.into_iter().map(filled).collect();
                }
                if !rows.is_empty() || !gone.is_empty() {
                    self.change(rows, &gone, shared);
                }
            }
            RowEvent::Listed => {
                self.rows.end_listing();
                self.listed = true;
                shared.dirty = true;
                self.settle(shared);
            }
            RowEvent::Lost(fault) => {
                shared.dirty = true;
                if fault.is_connection() {
                    shared.probed(Err(fault.clone()));
                }
                self.trouble = Some(fault);
            }
            RowEvent::Back => {
                self.trouble = None;
                shared.dirty = true;
            }
        }
    }

    /// Whether its rows say what is used.
    pub(super) fn is_measured(&self) -> bool {
        usage::columns(&self.kind).is_some() && self.rows.columns().iter().any(|column| column.name == "CPU")
    }

    pub(super) fn change(&mut self, rows: Vec<Row>, gone: &[Arc<str>], shared: &mut Shared) {
        let counts = (self.rows.visible(), self.rows.total(), self.rows.faults());
        let window = self.top..self.top + self.page(shared);
        let shown = |view: &Self, keys: &[Arc<str>]| keys.iter().any(|key| view.rows.position(key).is_some_and(|at| window.contains(&at)));
        // only what is in the window, or in the header, is worth a frame
        let few = rows.len() + gone.len() < 64;
        let keys: Vec<Arc<str>> =
            if few { rows.iter().map(|row| row.key.clone()).chain(gone.iter().cloned()).collect() } else { Vec::new() };
        let before = !few || shown(self, &keys);
        self.rows.apply(rows, gone, shared.now);
        self.settle(shared);
        if before || shown(self, &keys) || counts != (self.rows.visible(), self.rows.total(), self.rows.faults()) {
            shared.dirty = true;
        }
    }
}
