//! Creates, and watches of them: ConfigMaps of 1 KiB; lists of pods.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinSet;

use crate::Failure;
use crate::connection::Connection;
use crate::report::{Row, median};
use crate::target::Target;

const NAMESPACE: &str = "load-requests";
const SERIAL: usize = 1_000;
const TOGETHER: usize = 10_000;
const OBSERVED: usize = 2_000;
const WATCHES: usize = 100;
const EVENTS: usize = 500;
/// Pods of a list, and bytes of it for each: as many as upstream's pods have that are bound and not yet run.
const PODS: usize = 3_000;
const POD_BYTES: usize = 2_600;
const LISTS: usize = 15;
/// Connections that the watches share.
const CONNECTIONS: usize = 4;

/// Measures all of it.
pub async fn measure(target: &Target) -> Result<Vec<(Row, f64)>, Failure> {
    target.make_namespace(NAMESPACE).await?;
    let connection = target.connect(NAMESPACE).await?;
    create(&connection, config_maps("warm", 200), 8).await?;
    let mut out = vec![(Row::CreateSerial, serial(&connection).await?)];
    let together = config_maps("together", TOGETHER);
    let begun = Instant::now();
    create(&connection, together, 32).await?;
    out.push((Row::CreateTogether, TOGETHER as f64 / begun.elapsed().as_secs_f64()));
    out.push((Row::WatchLatency, latency(&connection).await?));
    out.push((Row::WatchThroughput, throughput(target, &connection).await?));
    out.push((Row::List, list(&connection).await?));
    target.delete_namespace(NAMESPACE).await?;
    Ok(out)
}

/// Milliseconds of a create, one after the other, the median.
async fn serial(connection: &Connection) -> Result<f64, Failure> {
    let _awake = Awake::new();
    let mut took = Vec::with_capacity(SERIAL);
    for body in config_maps("serial", SERIAL) {
        let begun = Instant::now();
        connection.post(&path(), body).await?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(&mut took))
}

/// While there is one, this process polls and does not sleep: how long its processor takes to wake up is not the server's time.
struct Awake(tokio::task::JoinHandle<()>);

impl Awake {
    fn new() -> Self {
        Self(tokio::spawn(async {
            loop {
                tokio::task::yield_now().await;
            }
        }))
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Milliseconds of a list of pods, the median. Nobody schedules them, so they stay as they are.
async fn list(connection: &Connection) -> Result<f64, Failure> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    let pod = |name: &str, note: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "annotations": {"note": note}}, "spec": {
            "schedulerName": "nobody", "containers": [{"name": "main", "image": "coracle.local/kubia:v1"}],
        }})
    };
    connection.post(&path, pod("pod-0", "").to_string().into()).await?;
    let note = "x".repeat(POD_BYTES.saturating_sub(connection.get(&path).await?.len()));
    for number in 1..PODS {
        connection.post(&path, pod(&format!("pod-{number}"), &note).to_string().into()).await?;
    }
    let mut took = Vec::new();
    for _ in 0..LISTS {
        let begun = Instant::now();
        let bytes = connection.count(&path).await?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
        if bytes < PODS * POD_BYTES * 9 / 10 {
            return Err(format!("a list of {bytes} bytes lacks pods").into());
        }
    }
    Ok(median(&mut took))
}

fn path() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/configmaps")
}

/// ConfigMaps of 1 KiB, `prefix-0` and so on. They are made before anything is measured.
fn config_maps(prefix: &str, count: usize) -> Vec<Bytes> {
    let one = |number| {
        let name = format!("{prefix}-{number}");
        let object = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}});
        let rest = 1_024_usize.saturating_sub(object("").to_string().len());
        object(&"x".repeat(rest)).to_string().into()
    };
    (0..count).map(one).collect()
}

/// Creates objects with so many requests in flight.
async fn create(connection: &Connection, bodies: Vec<Bytes>, in_flight: usize) -> Result<(), Failure> {
    create_noting(connection, bodies, in_flight, |_| ()).await
}

/// As [`create`]; before each request `note` is given the number of its object.
async fn create_noting(
    connection: &Connection,
    bodies: Vec<Bytes>,
    in_flight: usize,
    note: impl Fn(usize) + Send + Sync + 'static,
) -> Result<(), Failure> {
    let (bodies, next, note) = (Arc::new(bodies), Arc::new(AtomicUsize::new(0)), Arc::new(note));
    let mut workers = JoinSet::new();
    for _ in 0..in_flight {
        let (connection, bodies, next, note) = (connection.clone(), bodies.clone(), next.clone(), note.clone());
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(body) = bodies.get(number) else { return Ok::<_, Failure>(()) };
                note(number);
                connection.post(&path(), body.clone()).await?;
            }
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    Ok(())
}

/// A watch of what happens from now on.
async fn watch(connection: &Connection) -> Result<Incoming, Failure> {
    let list = connection.get(&format!("{}?limit=1", path())).await?;
    let list: serde_json::Value = serde_json::from_slice(&list)?;
    let revision = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let path = format!("{}?watch=1&resourceVersion={revision}", path());
    let response = connection.open_stream(Method::GET, &path, Bytes::new()).await?;
    if response.status() != 200 {
        return Err(format!("watch: {}", response.status()).into());
    }
    Ok(response.into_body())
}

/// Milliseconds from the moment before a create is sent to its event, the median.
async fn latency(connection: &Connection) -> Result<f64, Failure> {
    let _awake = Awake::new();
    let mut events = watch(connection).await?;
    let sent = Arc::new(Mutex::new(vec![Instant::now(); OBSERVED]));
    let noted = sent.clone();
    let note = move |number: usize| noted.lock()[number] = Instant::now();
    let (connection, bodies) = (connection.clone(), config_maps("observed", OBSERVED));
    let creating = tokio::spawn(async move { create_noting(&connection, bodies, 8, note).await });
    let mut took = Vec::with_capacity(OBSERVED);
    let mut pending = Vec::new();
    while took.len() < OBSERVED {
        let frame = events.frame().await.ok_or("the watch ended")??;
        let now = Instant::now();
        pending.extend_from_slice(frame.data_ref().map(|data| &data[..]).unwrap_or_default());
        let Some(end) = pending.iter().rposition(|&byte| byte == b'\n') else { continue };
        let rest = pending.split_off(end + 1);
        for line in std::mem::replace(&mut pending, rest).split(|&byte| byte == b'\n') {
            let Some(number) = number_in(line) else { continue };
            took.push((now - sent.lock()[number]).as_secs_f64() * 1e3);
        }
    }
    creating.await??;
    Ok(median(&mut took))
}

/// The number of the object in an event, cheaply: this end must not be what is measured.
fn number_in(line: &[u8]) -> Option<usize> {
    let mark = b"\"name\":\"observed-";
    let at = line.windows(mark.len()).position(|window| window == mark)?;
    let digits = line[at + mark.len()..].split(|&byte| byte == b'"').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Events per second that all watches together receive.
async fn throughput(target: &Target, creator: &Connection) -> Result<f64, Failure> {
    let mut watching = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let connection = target.connect(NAMESPACE).await?;
        for _ in 0..WATCHES / CONNECTIONS {
            let mut events = watch(&connection).await?;
            let connection = connection.clone();
            watching.spawn(async move {
                let _open = connection;
                let mut seen = 0;
                while seen < EVENTS {
                    let frame = events.frame().await.ok_or("a watch ended")??;
                    seen += frame.data_ref().map_or(0, |data| data.iter().filter(|&&byte| byte == b'\n').count());
                }
                Ok::<_, Failure>(())
            });
        }
    }
    let told = config_maps("told", EVENTS);
    let begun = Instant::now();
    create(creator, told, 32).await?;
    while let Some(ended) = watching.join_next().await {
        ended??;
    }
    Ok((WATCHES * EVENTS) as f64 / begun.elapsed().as_secs_f64())
}
