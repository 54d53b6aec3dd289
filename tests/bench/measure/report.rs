//! The table: what is measured, its budget, and how it is written.

use std::collections::BTreeMap;
use std::fmt;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    Answers,
    NodeReady,
    IdleMemory,
    IdleProcessor,
    IdleMinute,
    IdleActors,
    CreateSerial,
    CreateTogether,
    List,
    WatchLatency,
    WatchThroughput,
    Bound,
    LoadedMemory,
    BoundLarge,
    PodStart,
    PodEnd,
    SixtyPods,
    MostPods,
    PodsMemory,
    MemoryPerPod,
}

/// A row's name, unit, budget, and whether more is better.
const ROWS: [(Row, &str, &str, f64, bool); 20] = [
    (Row::Answers, "start → API ready", "s", 0.1, false),
    (Row::NodeReady, "start → node Ready", "s", 0.3, false),
    (Row::IdleMemory, "resident memory, idle", "MB", 32.0, false),
    (Row::IdleProcessor, "idle CPU", "% of a core", 0.3, false),
    (Row::IdleMinute, "CPU of everything in an idle minute", "ms", 180.0, false),
    (Row::IdleActors, "CPU of server, controllers and scheduler in an idle minute", "ms", 10.0, false),
    (Row::CreateSerial, "create, one at a time, p50", "ms", 0.4, false),
    (Row::CreateTogether, "create, 32 in flight", "per s", 7_000.0, true),
    (Row::List, "list of 3,000 pods", "ms", 10.0, false),
    (Row::WatchLatency, "create → watch event, 8 in flight, p50", "ms", 1.0, false),
    (Row::WatchThroughput, "100 watches × 500 events", "per s", 200_000.0, true),
    (Row::Bound, "Deployment of 3,000 on 30 nodes → all bound", "s", 2.0, false),
    (Row::LoadedMemory, "resident memory with those", "MB", 90.0, false),
    (Row::BoundLarge, "Deployment of 10,000 on 100 nodes, the UI watching → all bound", "s", 10.0, false),
    (Row::PodStart, "one-container pod, image present, create → Running, p50", "ms", 120.0, false),
    (Row::PodEnd, "delete → gone, p50", "ms", 200.0, false),
    (Row::SixtyPods, "60 pods at once → all Running", "s", 4.0, false),
    (Row::MostPods, "110 pods at once → all Running", "s", 8.0, false),
    (Row::PodsMemory, "memory with 60 pods, shims included", "MB", 126.0, false),
    (Row::MemoryPerPod, "memory per pod, shim included", "MB", 2.1, false),
];

/// The figures so far.
#[derive(Debug, Default)]
pub struct Report {
    ours: BTreeMap<Row, f64>,
    reference: BTreeMap<Row, f64>,
}

impl Report {
    /// A figure of this program.
    pub fn ours(&mut self, row: Row, value: f64) {
        self.ours.insert(row, value);
    }

    /// A figure of the other cluster.
    pub fn reference(&mut self, row: Row, value: f64) {
        self.reference.insert(row, value);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let compared = !self.reference.is_empty();
        writeln!(f, "| what | unit | measured | budget | kept |{}", if compared { " reference | ratio |" } else { "" })?;
        writeln!(f, "|---|---|---:|---:|---|{}", if compared { "---:|---:|" } else { "" })?;
        for (row, name, unit, budget, more_is_better) in ROWS {
            let Some(&value) = self.ours.get(&row) else { continue };
            let kept = if more_is_better { value >= budget } else { value <= budget };
            write!(f, "| {name} | {unit} | {} | {} | {} |", figure(value), figure(budget), if kept { "yes" } else { "no" })?;
            if compared {
                match self.reference.get(&row) {
                    Some(&other) => {
                        let ratio = if more_is_better { value / other } else { other / value };
                        write!(f, " {} | {ratio:.1}× |", figure(other))?;
                    }
                    None => write!(f, " – | – |")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Three digits that count.
fn figure(value: f64) -> String {
    match value {
        value if value >= 1_000.0 => {
            let whole = value.round() as u64;
            if whole >= 1_000_000 { format!("{whole}") } else { format!("{},{:03}", whole / 1_000, whole % 1_000) }
        }
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// The middle one.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
