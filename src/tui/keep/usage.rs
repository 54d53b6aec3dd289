//! What pods and nodes use, as `metrics.k8s.io` says where it is served: columns, the header's lines, rightsizing.
//!
//! That API has no watch: it is asked every quarter of a minute, as often as it measures anew, and only where it exists.

use std::collections::HashMap;
use std::time::Duration;

use coracle_api::quantity::Quantity;
use serde_json::Value;

use crate::kinds::Kind;
use crate::shared::Shared;
use crate::source::fault::{Fault, FaultKind};
use crate::source::work::Outside;
use crate::table::{Column, ColumnKind, Row};

/// How often it is asked.
const EVERY: Duration = Duration::from_secs(15);
/// How many past values the header draws.
const KEPT: usize = 8;

/// Thousandths of a core, and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Thousandths of a core.
    pub cpu: u64,
    /// Bytes.
    pub memory: u64,
}

impl Amount {
    /// From a map of `cpu` and `memory`.
    pub fn of(map: Option<&Value>) -> Self {
        let quantity = |name: &str| {
            let text = map.and_then(|map| map.get(name)).map(crate::source::printer::shown).unwrap_or_default();
            text.parse::<Quantity>().ok()
        };
        let amount = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok()).unwrap_or_default();
        let (cpu, memory) = (quantity("cpu").map(|cpu| cpu.milli_value()), quantity("memory").map(|memory| memory.value()));
        Self { cpu: amount(cpu), memory: amount(memory) }
    }

    fn plus(self, other: Self) -> Self {
        Self { cpu: self.cpu + other.cpu, memory: self.memory + other.memory }
    }

    /// Mebibytes, rounded up as k9s and kubectl do.
    pub fn mebibytes(self) -> u64 {
        self.memory.div_ceil(1 << 20)
    }
}

/// What is used, by whom.
#[derive(Debug, Default)]
pub struct Usage {
    /// By `namespace/name`.
    pods: HashMap<Box<str>, Amount>,
    /// By `namespace/name/container`.
    containers: HashMap<Box<str>, Amount>,
    /// The most each container used in this session.
    most: HashMap<Box<str>, Amount>,
    nodes: HashMap<Box<str>, Amount>,
    /// Percent of cores and of memory used, oldest first.
    past: Vec<(u8, u8)>,
    /// Somebody asks already.
    asking: bool,
}

/// One answer.
struct Measured {
    pods: Vec<Value>,
    nodes: Vec<Value>,
    allocatable: Amount,
}

/// Whether the kinds of a server include measures.
fn is_measured(shared: &Shared) -> bool {
    shared.kinds.all().iter().any(|kind| kind.group == "metrics.k8s.io")
}

/// Percent, if there is something to be a part of.
pub fn percent(part: u64, whole: u64) -> Option<u64> {
    (whole > 0).then(|| part * 100 / whole)
}

impl Usage {
    /// Nothing is known any more.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// What a container uses.
    pub fn container(&self, namespace: &str, pod: &str, container: &str) -> Option<Amount> {
        self.containers.get(format!("{namespace}/{pod}/{container}").as_str()).copied()
    }

    /// The most a container used since this session began.
    pub fn most(&self, namespace: &str, pod: &str, container: &str) -> Option<Amount> {
        self.most.get(format!("{namespace}/{pod}/{container}").as_str()).copied()
    }

    /// Percent of cores and of memory used in the cluster, oldest first.
    pub fn past(&self) -> &[(u8, u8)] {
        &self.past
    }

    fn take(&mut self, measured: &Measured) {
        let text = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        self.pods.clear();
        self.containers.clear();
        for pod in &measured.pods {
            let key = format!("{}/{}", text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
            let mut whole = Amount::default();
            for container in pod.get("containers").and_then(Value::as_array).into_iter().flatten() {
                let amount = Amount::of(container.get("usage"));
                let name: Box<str> = format!("{key}/{}", text(container, "/name")).into();
                let most = self.most.entry(name.clone()).or_default();
                *most = Amount { cpu: most.cpu.max(amount.cpu), memory: most.memory.max(amount.memory) };
                self.containers.insert(name, amount);
                whole = whole.plus(amount);
            }
            self.pods.insert(key.into(), whole);
        }
        let nodes = measured.nodes.iter();
        self.nodes = nodes.map(|node| (text(node, "/metadata/name").into(), Amount::of(node.get("usage")))).collect();
        let used = self.nodes.values().fold(Amount::default(), |sum, amount| sum.plus(*amount));
        let share = |part, whole| u8::try_from(percent(part, whole).unwrap_or_default().min(100)).unwrap_or(100);
        let all = measured.allocatable;
        if all.cpu > 0 {
            self.past.push((share(used.cpu, all.cpu), share(used.memory, all.memory)));
            self.past.drain(..self.past.len().saturating_sub(KEPT));
        }
    }

    /// The row with the cells filled that say what its object uses; None if they say so already.
    pub fn fill(&self, kind: &Kind, columns: &[Column], row: &Row) -> Option<Row> {
        let amount = match kind.plural.as_str() {
            "pods" => self.pods.get(&*row.key),
            _ => self.nodes.get(row.name()),
        };
        let cell = |name: &str| columns.iter().position(|column| column.name == name);
        let (used_cpu, used_memory) = (amount.map(|amount| amount.cpu), amount.map(|amount| amount.mebibytes()));
        let shown = |value: Option<u64>| value.map_or_else(|| "n/a".to_owned(), |value| value.to_string());
        let (cpu, memory) = (cell("CPU")?, cell("MEM")?);
        if row.cell(cpu) == shown(used_cpu) && row.cell(memory) == shown(used_memory) {
            return None;
        }
        let mut cells: Vec<String> = (0..columns.len()).map(|index| row.cell(index).to_owned()).collect();
        let mut set = |name: &str, value: Option<u64>| {
            if let Some(index) = cell(name) {
                cells[index] = shown(value);
            }
        };
        let limits = |name: &str, index: usize| -> Option<u64> { row.cell(cell(name)?).split(':').nth(index)?.parse().ok() };
        let part = |used: Option<u64>, whole: Option<u64>| percent(used?, whole?);
        set("CPU", used_cpu);
        set("MEM", used_memory);
        for (index, suffix) in ["R", "L"].into_iter().enumerate() {
            set(&format!("%CPU/{suffix}"), part(used_cpu, limits("CPU/RL", index)));
            set(&format!("%MEM/{suffix}"), part(used_memory, limits("MEM/RL", index)));
        }
        set("%CPU", part(used_cpu, limits("CPU/A", 0)));
        set("%MEM", part(used_memory, limits("MEM/A", 0)));
        Some(row.clone().with_cells(&cells))
    }
}

/// Columns of use, after which column they stand, for the kinds that have any.
pub fn columns(kind: &Kind) -> Option<(&'static str, Vec<Column>)> {
    let column = |(name, wide): &(&str, bool)| Column { name: (*name).to_owned(), kind: ColumnKind::Number, wide: *wide };
    let text = |name: &str| Column { name: name.to_owned(), kind: ColumnKind::Text, wide: true };
    if kind.is("", "pods") {
        let shown = [("CPU", false), ("MEM", false), ("%CPU/R", true), ("%CPU/L", true), ("%MEM/R", true), ("%MEM/L", true)];
        return Some(("RESTARTS", shown.iter().map(column).chain([text("CPU/RL"), text("MEM/RL")]).collect()));
    }
    if kind.is("", "nodes") {
        let shown = [("CPU", false), ("%CPU", false), ("MEM", false), ("%MEM", false), ("CPU/A", true), ("MEM/A", true)];
        return Some(("VERSION", shown.iter().map(column).collect()));
    }
    None
}

/// The cells of those columns, as far as the object itself says.
pub fn cells(kind: &Kind, object: &Value) -> Vec<String> {
    if kind.is("", "nodes") {
        let all = Amount::of(object.pointer("/status/allocatable"));
        let unknown = || String::new();
        return vec![unknown(), unknown(), unknown(), unknown(), all.cpu.to_string(), all.mebibytes().to_string()];
    }
    let (asked, limit) = asked(object, "/spec");
    let pair = |a: u64, b: u64| format!("{a}:{b}");
    let mut cells = vec![String::new(); 6];
    cells.extend([pair(asked.cpu, limit.cpu), pair(asked.mebibytes(), limit.mebibytes())]);
    cells
}

/// What the containers below `spec` ask for, and what they may have at most.
fn asked(object: &Value, spec: &str) -> (Amount, Amount) {
    let containers = object.pointer(&format!("{spec}/containers")).and_then(Value::as_array).into_iter().flatten();
    let of = |container: &Value, what: &str| Amount::of(container.pointer(&format!("/resources/{what}")));
    containers.fold((Amount::default(), Amount::default()), |(asked, limit), container| {
        (asked.plus(of(container, "requests")), limit.plus(of(container, "limits")))
    })
}

async fn measure(outside: &Outside, namespaces: Vec<Option<String>>) -> Result<Measured, Fault> {
    const ROOT: &str = "/apis/metrics.k8s.io/v1beta1";
    let mut pods = Vec::new();
    for namespace in namespaces {
        let place = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
        pods.extend(outside.list(format!("{ROOT}{place}/pods")).await?);
    }
    // who may not see nodes sees the pods' measures all the same
    let measured = outside.list(format!("{ROOT}/nodes")).await.unwrap_or_default();
    let nodes = outside.list("/api/v1/nodes").await.unwrap_or_default();
    let of = |node: &Value| Amount::of(node.pointer("/status/allocatable"));
    let allocatable = nodes.iter().map(of).fold(Amount::default(), Amount::plus);
    Ok(Measured { pods, nodes: measured, allocatable })
}

impl Shared {
    /// Whether rows have columns of use.
    pub fn is_measured(&self) -> bool {
        is_measured(self)
    }

    /// Asks again and again what is used, if the server says so and nobody asks yet.
    pub fn ask_usage(&mut self) {
        if self.usage.asking || !is_measured(self) {
            return;
        }
        self.usage.asking = true;
        let context = self.context().to_owned();
        self.work(move |outside| async move {
            loop {
                // all namespaces at once, or else those shown
                let measured = match measure(&outside, vec![None]).await {
                    Err(fault) if fault.kind == FaultKind::Forbidden => {
                        let (sender, shown) = tokio::sync::oneshot::channel();
                        outside.then(move |app| drop(sender.send(app.shared.namespaces.clone())));
                        match shown.await {
                            Ok(crate::shared::Namespaces::Some(names)) => measure(&outside, names.into_iter().map(Some).collect()).await,
                            _ => Err(fault),
                        }
                    }
                    other => other,
                };
                let context = context.clone();
                let heard = outside.then(move |app| {
                    if app.shared.context() != context {
                        return;
                    }
                    match measured {
                        Ok(measured) => app.shared.usage.take(&measured),
                        Err(_) => {
                            app.shared.usage.forget();
                            app.shared.usage.asking = true;
                        }
                    }
                    app.every_view(|view, shared| view.usage_changed(shared));
                });
                outside.under_way();
                if !heard {
                    return;
                }
                tokio::time::sleep(EVERY).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;
    use crate::kinds::Kinds;
    use crate::table::Health;

    #[test]
    fn rows_say_what_is_used_and_what_part_of_what_was_asked_for() {
        let pods = Kinds::first().find("pods").unwrap();
        let (_, mut columns) = columns(&pods).unwrap();
        columns.insert(0, Column::new("Name", "string", false));
        let pod = json!({"spec": {"containers": [{"resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}}]}});
        let mut own = cells(&pods, &pod);
        own.insert(0, "web".to_owned());
        let mut usage = Usage::default();
        usage.take(&Measured {
            pods: vec![json!({"metadata": {"namespace": "default", "name": "web"}, "containers": [{"name": "main", "usage": {"cpu": "31250000n", "memory": "33Mi"}}]})],
            nodes: vec![json!({"metadata": {"name": "laptop"}, "usage": {"cpu": "1", "memory": "1Gi"}})],
            allocatable: Amount { cpu: 4_000, memory: 4 << 30 },
        });
        let row = usage.fill(&pods, &columns, &Row::new("default", "web", &own, vec![1], Health::Fine, "u")).unwrap();
        assert!(usage.fill(&pods, &columns, &row).is_none(), "it says so already");
        let shown: Vec<&str> = (0..columns.len()).map(|index| row.cell(index)).collect();
        assert_eq!(shown, ["web", "32", "33", "32", "n/a", "51", "25", "100:0", "64:128"]);
        assert_eq!(usage.past(), [(25, 25)]);
        let other = usage.fill(&pods, &columns, &Row::new("default", "other", &own, vec![1], Health::Fine, "u")).unwrap();
        assert_eq!((other.cell(1), other.cell(3)), ("n/a", "n/a"));
    }
}
