//! Logs of many containers at once. A stream that ends is taken up where it ended; pods that appear are joined.

use std::collections::HashSet;
use std::time::Duration;

use futures::io::AsyncBufReadExt;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::call::{Call, encode};
use super::fault::{Fault, FaultKind};
use super::observe::{Seen, observe};

/// Whose logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// Namespace of the pods.
    pub namespace: String,
    /// One pod (`metadata.name=…`) or a selector's pods.
    pub pods: PodChoice,
    /// One container, or all.
    pub container: Option<String>,
    /// Of the instance before the current one.
    pub previous: bool,
    /// From where.
    pub from: LogStart,
}

/// Which pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodChoice {
    /// The pod of this name.
    Name(String),
    /// These pods.
    Names(Vec<String>),
    /// Pods with these labels, those to come included.
    Labels(String),
}

/// Where a log begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStart {
    /// The last lines.
    Tail(u32),
    /// The beginning.
    Beginning,
    /// So many seconds ago.
    Since(u32),
}

/// A line as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written, nanoseconds since 1970.
    pub nanos: i64,
    /// The text.
    pub text: String,
}

/// News of the logs.
#[derive(Debug)]
pub enum LogEvent {
    /// A container joins: its number, pod and name.
    Source(usize, String, String),
    /// Lines of a container.
    Lines(usize, Vec<LogLine>),
    /// What there was has been read; more may follow.
    CaughtUp,
    /// There is nothing to read now, and why.
    Waiting(usize, Fault),
    /// There are no such pods.
    NoPods,
    /// The pods cannot be listed.
    Lost(Fault),
}

/// Reads logs until `tell` says that nobody listens.
pub async fn follow(client: kube::Client, query: LogQuery, tell: impl Fn(LogEvent) -> bool + Send + Sync + Clone + 'static) {
    let selector = match &query.pods {
        PodChoice::Name(name) => format!("fieldSelector={}", encode(&format!("metadata.name={name}"))),
        PodChoice::Labels(labels) => format!("labelSelector={}", encode(labels)),
        PodChoice::Names(_) => String::new(),
    };
    let path = format!("/api/v1/namespaces/{}/pods?{selector}", query.namespace);
    let (sender, mut pods) = mpsc::unbounded_channel();
    let listing = observe(client.clone(), path, move |seen| sender.send(seen).is_ok());
    let reading = async {
        let mut known: HashSet<(String, String)> = HashSet::new();
        let mut streams = JoinSet::new();
        while let Some(seen) = pods.recv().await {
            let pods = match seen {
                Seen::Now(pods) => pods,
                Seen::Lost(fault) => match tell(LogEvent::Lost(fault)) {
                    true => continue,
                    false => return,
                },
            };
            if known.is_empty() && pods.is_empty() && !tell(LogEvent::NoPods) {
                return;
            }
            for (pod, uid, container) in pods.values().flat_map(containers) {
                let named = !matches!(&query.pods, PodChoice::Names(names) if !names.contains(&pod));
                let wanted = named && query.container.as_ref().is_none_or(|name| *name == container);
                if !wanted || !known.insert((uid, container.clone())) {
                    continue;
                }
                let number = known.len() - 1;
                if !tell(LogEvent::Source(number, pod.clone(), container.clone())) {
                    return;
                }
                streams.spawn(read(client.clone(), query.clone(), pod, container, number, tell.clone()));
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = listing => {}
    }
}

/// Pod, uid and container of every container that has been started or will be.
fn containers(pod: &Value) -> Vec<(String, String, String)> {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    ["/spec/initContainers", "/spec/containers", "/spec/ephemeralContainers"]
        .iter()
        .flat_map(|list| pod.pointer(list).and_then(Value::as_array).into_iter().flatten())
        .filter_map(|container| container.get("name").and_then(Value::as_str))
        .map(|name| (text("/metadata/name"), text("/metadata/uid"), name.to_owned()))
        .collect()
}

async fn read(
    client: kube::Client,
    query: LogQuery,
    pod: String,
    container: String,
    number: usize,
    tell: impl Fn(LogEvent) -> bool + Send + Sync + 'static,
) {
    let mut last: Option<i64> = None;
    let mut pause = Duration::from_millis(300);
    loop {
        let from = match (last, query.from) {
            (Some(nanos), _) => Timestamp::from_nanosecond(i128::from(nanos))
                .map(|time| format!("&sinceTime={}", encode(&time.to_string())))
                .unwrap_or_default(),
            (None, LogStart::Tail(lines)) => format!("&tailLines={lines}"),
            (None, LogStart::Since(seconds)) => format!("&sinceSeconds={seconds}"),
            (None, LogStart::Beginning) => String::new(),
        };
        let follow = if query.previous { "previous=true" } else { "follow=true" };
        let path = format!("/api/v1/namespaces/{}/pods/{pod}/log?container={container}&timestamps=true&{follow}{from}", query.namespace);
        let before = last;
        let outcome = read_once(&client, path, number, &mut last, &tell).await;
        match outcome {
            Err(None) => return,
            Err(Some(fault)) if fault.kind == FaultKind::NotFound || query.previous => {
                let _ = tell(LogEvent::Waiting(number, fault));
                return;
            }
            Err(Some(fault)) => {
                if !tell(LogEvent::Waiting(number, fault)) {
                    return;
                }
            }
            Ok(()) if query.previous => return,
            Ok(()) => {}
        }
        pause = if last == before { (pause * 2).min(Duration::from_secs(8)) } else { Duration::from_millis(300) };
        tokio::time::sleep(pause).await;
    }
}

/// Reads one answer to its end. `Err(None)`: nobody listens.
async fn read_once(
    client: &kube::Client,
    path: String,
    number: usize,
    last: &mut Option<i64>,
    tell: &impl Fn(LogEvent) -> bool,
) -> Result<(), Option<Fault>> {
    let request = Call { accept: "*/*", ..Call::get(path) }.request().map_err(Some)?;
    let mut stream = Box::pin(client.request_stream(request).await.map_err(|error| Some(error.into()))?);
    let resumed_after = *last;
    let mut lines = Vec::new();
    let mut buffer = Vec::new();
    let mut caught_up = false;
    loop {
        buffer.clear();
        let read = match futures::poll!(Box::pin(stream.read_until(b'\n', &mut buffer))) {
            std::task::Poll::Ready(read) => read,
            std::task::Poll::Pending => {
                if !lines.is_empty() && !tell(LogEvent::Lines(number, std::mem::take(&mut lines))) {
                    return Err(None);
                }
                if !caught_up {
                    match tokio::time::timeout(Duration::from_millis(40), stream.read_until(b'\n', &mut buffer)).await {
                        Ok(read) => read,
                        Err(_) => {
                            caught_up = true;
                            if !tell(LogEvent::CaughtUp) {
                                return Err(None);
                            }
                            stream.read_until(b'\n', &mut buffer).await
                        }
                    }
                } else {
                    stream.read_until(b'\n', &mut buffer).await
                }
            }
        };
        match read {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                let _ = tell(LogEvent::Lines(number, lines));
                return Err(Some(Fault::new(FaultKind::Unreachable, format!("the log broke: {error}"))));
            }
        }
        let line = parse(&buffer, last.unwrap_or_default());
        // the server starts at the whole second: what has been read is not read twice
        if resumed_after.is_some_and(|after| line.nanos <= after) {
            continue;
        }
        *last = Some(line.nanos);
        lines.push(line);
        if lines.len() >= 4_096 && !tell(LogEvent::Lines(number, std::mem::take(&mut lines))) {
            return Err(None);
        }
    }
    if tell(LogEvent::Lines(number, lines)) && tell(LogEvent::CaughtUp) { Ok(()) } else { Err(None) }
}

/// Splits the time off a line; a line without one has the time of the line before.
fn parse(line: &[u8], before: i64) -> LogLine {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches(['\n', '\r']);
    let timed = text.split_once(' ').unwrap_or((text, ""));
    match timed.0.parse::<Timestamp>() {
        Ok(time) => LogLine { nanos: i64::try_from(time.as_nanosecond()).unwrap_or(before), text: timed.1.to_owned() },
        Err(_) => LogLine { nanos: before, text: text.to_owned() },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn lines_are_split_from_their_time() {
        let line = parse(b"2026-11-21T10:00:00.000000001Z hello there\n", 0);
        assert_eq!(line.text, "hello there");
        assert_eq!(line.nanos % 1_000_000_000, 1);
        assert_eq!(parse(b"no time\r\n", 7), LogLine { nanos: 7, text: "no time".into() });
        assert_eq!(parse(b"2026-11-21T10:00:00Z", 7).text, "");
    }
}
