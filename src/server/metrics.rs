//! Counters, and `/metrics` in Prometheus' text form with upstream's names.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Objects decoded from their stored form, in this process.
pub(crate) static DECODES: Counter = Counter::new();

/// Upper bounds of the duration histogram, in seconds: upstream's.
const BUCKETS: [f64; 14] = [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0];

/// What is told apart in request counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Labels {
    pub(crate) verb: &'static str,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) scope: &'static str,
    pub(crate) dry_run: bool,
    pub(crate) code: u16,
}

#[derive(Debug, Default, Clone)]
struct Series {
    count: u64,
    seconds: f64,
    buckets: [u64; BUCKETS.len()],
}

/// The server's own counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<Labels, Series>>,
    watch_events: Mutex<BTreeMap<(String, String, String), Arc<Counter>>>,
    reading: AtomicI64,
    mutating: AtomicI64,
    long_running: AtomicI64,
}

/// Which gauge a request is counted in while it runs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Gauge {
    Reading,
    Mutating,
    LongRunning,
}

/// Counts a request as running until it is dropped.
pub(crate) struct Running<'a>(&'a AtomicI64);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    fn gauge(&self, gauge: Gauge) -> &AtomicI64 {
        match gauge {
            Gauge::Reading => &self.reading,
            Gauge::Mutating => &self.mutating,
            Gauge::LongRunning => &self.long_running,
        }
    }

    pub(crate) fn running(&self, gauge: Gauge) -> Running<'_> {
        let gauge = self.gauge(gauge);
        gauge.fetch_add(1, Ordering::Relaxed);
        Running(gauge)
    }

    pub(crate) fn observe(&self, labels: Labels, took: Duration) {
        let mut requests = self.requests.lock();
        let series = requests.entry(labels).or_default();
        let seconds = took.as_secs_f64();
        series.count += 1;
        series.seconds += seconds;
        if let Some(at) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            series.buckets[at] += 1;
        }
    }

    /// Where watches of a kind count the events they send.
    pub(crate) fn watched(&self, group: &str, version: &str, resource: &str) -> Arc<Counter> {
        self.watch_events.lock().entry((group.to_owned(), version.to_owned(), resource.to_owned())).or_default().clone()
    }

    /// The page.
    pub(crate) fn render(&self, store_revision: u64) -> String {
        let mut out = String::new();
        self.render_requests(&mut out);
        head(&mut out, "apiserver_current_inflight_requests", "gauge", "Number of requests being answered, by kind.");
        for (kind, gauge) in [("readOnly", Gauge::Reading), ("mutating", Gauge::Mutating)] {
            let value = self.gauge(gauge).load(Ordering::Relaxed);
            line(&mut out, &format!("apiserver_current_inflight_requests{{request_kind=\"{kind}\"}}"), value as f64);
        }
        head(&mut out, "apiserver_longrunning_requests", "gauge", "Watches, logs and streams that are open.");
        line(&mut out, "apiserver_longrunning_requests", self.long_running.load(Ordering::Relaxed) as f64);
        head(&mut out, "apiserver_watch_events_total", "counter", "Events sent to watches.");
        for ((group, version, resource), count) in self.watch_events.lock().iter() {
            let name = format!("apiserver_watch_events_total{{group=\"{group}\",resource=\"{resource}\",version=\"{version}\"}}");
            line(&mut out, &name, count.get() as f64);
        }
        head(&mut out, "coracle_object_decodes_total", "counter", "Objects decoded from their stored form.");
        line(&mut out, "coracle_object_decodes_total", DECODES.get() as f64);
        head(&mut out, "coracle_store_revision", "gauge", "Latest revision of the store.");
        line(&mut out, "coracle_store_revision", store_revision as f64);
        render_process(&mut out);
        out
    }

    fn render_requests(&self, out: &mut String) {
        let requests = self.requests.lock().clone();
        head(out, "apiserver_request_total", "counter", "Requests answered.");
        for (labels, series) in &requests {
            let dry_run = if labels.dry_run { "All" } else { "" };
            let name = format!(
                "apiserver_request_total{{code=\"{}\",component=\"apiserver\",dry_run=\"{dry_run}\",{}}}",
                labels.code,
                labels.common()
            );
            line(out, &name, series.count as f64);
        }
        let mut durations: BTreeMap<String, Series> = BTreeMap::new();
        for (labels, series) in requests {
            let sum = durations.entry(labels.common()).or_default();
            sum.count += series.count;
            sum.seconds += series.seconds;
            for (bucket, more) in sum.buckets.iter_mut().zip(series.buckets) {
                *bucket += more;
            }
        }
        let metric = "apiserver_request_duration_seconds";
        head(out, metric, "histogram", "How long requests took to be answered.");
        for (labels, series) in durations {
            let mut below = 0;
            for (bound, count) in BUCKETS.iter().zip(series.buckets) {
                below += count;
                line(out, &format!("{metric}_bucket{{component=\"apiserver\",{labels},le=\"{bound}\"}}"), below as f64);
            }
            line(out, &format!("{metric}_bucket{{component=\"apiserver\",{labels},le=\"+Inf\"}}"), series.count as f64);
            line(out, &format!("{metric}_sum{{component=\"apiserver\",{labels}}}"), series.seconds);
            line(out, &format!("{metric}_count{{component=\"apiserver\",{labels}}}"), series.count as f64);
        }
    }
}

impl Labels {
    fn common(&self) -> String {
        let Self { verb, group, version, resource, subresource, scope, .. } = self;
        format!(
            "group=\"{group}\",resource=\"{resource}\",scope=\"{scope}\",subresource=\"{subresource}\",verb=\"{verb}\",version=\"{version}\""
        )
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(out: &mut String, name: &str, value: f64) {
    let _ = writeln!(out, "{name} {value}");
}

/// What the kernel tells of this process, under the names of Prometheus' client libraries.
fn render_process(out: &mut String) {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let stat = read("stat");
    let fields: Vec<f64> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
    let field = |at: usize| fields.get(at).copied().unwrap_or(0.0);
    // Clock ticks are hundredths of a second and pages 4 KiB on every Linux we run on.
    let (ticks, page) = (100.0, 4096.0);
    let boot = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot: f64 = boot.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok()).unwrap_or(0.0);
    let descriptors = std::fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or(0);
    let rows = [
        ("process_cpu_seconds_total", "counter", "CPU time used, in seconds.", (field(11) + field(12)) / ticks),
        ("process_resident_memory_bytes", "gauge", "Resident memory, in bytes.", field(21) * page),
        ("process_virtual_memory_bytes", "gauge", "Virtual memory, in bytes.", field(20)),
        ("process_start_time_seconds", "gauge", "Start time, in seconds since 1970.", boot + field(19) / ticks),
        ("process_open_fds", "gauge", "Open file descriptors.", descriptors as f64),
    ];
    for (name, kind, help, value) in rows {
        head(out, name, kind, help);
        line(out, name, value);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_page_of_counts() {
        let metrics = Metrics::default();
        let labels = Labels {
            verb: "LIST",
            group: String::new(),
            version: "v1".into(),
            resource: "pods".into(),
            subresource: String::new(),
            scope: "namespace",
            dry_run: false,
            code: 200,
        };
        metrics.observe(labels.clone(), Duration::from_millis(30));
        metrics.observe(labels, Duration::from_secs(9));
        metrics.watched("", "v1", "pods").add(3);
        let running = metrics.running(Gauge::Reading);
        let page = metrics.render(7);
        drop(running);
        for wanted in [
            "apiserver_request_total{code=\"200\",component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"pods\",scope=\"namespace\",subresource=\"\",verb=\"LIST\",version=\"v1\"} 2\n",
            "verb=\"LIST\",version=\"v1\",le=\"0.05\"} 1\n",
            "verb=\"LIST\",version=\"v1\",le=\"+Inf\"} 2\n",
            "apiserver_current_inflight_requests{request_kind=\"readOnly\"} 1\n",
            "apiserver_watch_events_total{group=\"\",resource=\"pods\",version=\"v1\"} 3\n",
            "coracle_store_revision 7\n",
            "process_resident_memory_bytes ",
        ] {
            assert!(page.contains(wanted), "{wanted} not in {page}");
        }
        assert!(metrics.render(7).contains("request_kind=\"readOnly\"} 0\n"));
    }
}
