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
    let maps = path(NAMESPACE);
    create(&connection, &maps, config_maps("warm", 200), 8).await?;
    let mut out = vec![(Row::CreateSerial, serial(&connection, &maps, SERIAL).await?)];
    let together = config_maps("together", TOGETHER);
    let begun = Instant::now();
    create(&connection, &maps, together, 32).await?;
    out.push((Row::CreateTogether, TOGETHER as f64 / begun.elapsed().as_secs_f64()));
    out.push((Row::WatchLatency, latency(&connection, &maps, OBSERVED).await?));
    out.push((Row::WatchThroughput, throughput(target, &connection, &maps).await?));
    out.push((Row::List, list(&connection).await?));
    target.delete_namespace(NAMESPACE).await?;
    Ok(out)
}

/// Milliseconds of a create, one after the other, the median.
pub async fn serial(connection: &Connection, maps: &str, count: usize) -> Result<f64, Failure> {
    let _awake = Awake::new();
    let mut took = Vec::with_capacity(count);
    for body in config_maps("serial", count) {
        let begun = Instant::now();
        connection.post(maps, body).await?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(&mut took))
}

/// While there is one, this process polls and does not sleep: how long its processor takes to wake up is not the server's time.
pub struct Awake(tokio::task::JoinHandle<()>);

impl Awake {
    pub fn new() -> Self {
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

/// Where the ConfigMaps of a namespace are.
pub fn path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps")
}

/// ConfigMaps of 1 KiB, `prefix-0` and so on. They are made before anything is measured.
pub fn config_maps(prefix: &str, count: usize) -> Vec<Bytes> {
    let one = |number| {
        let name = format!("{prefix}-{number}");
        let object = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}});
        let rest = 1_024_usize.saturating_sub(object("").to_string().len());
        object(&"x".repeat(rest)).to_string().into()
    };
    (0..count).map(one).collect()
}

/// Creates objects with so many requests in flight.
pub async fn create(connection: &Connection, maps: &str, bodies: Vec<Bytes>, in_flight: usize) -> Result<(), Failure> {
    create_noting(connection, maps, bodies, in_flight, |_| ()).await
}

/// As [`create`]; before each request `note` is given the number of its object.
async fn create_noting(
    connection: &Connection,
    maps: &str,
    bodies: Vec<Bytes>,
    in_flight: usize,
    note: impl Fn(usize) + Send + Sync + 'static,
) -> Result<(), Failure> {
    let (maps, bodies, next, note) = (Arc::<str>::from(maps), Arc::new(bodies), Arc::new(AtomicUsize::new(0)), Arc::new(note));
    let mut workers = JoinSet::new();
    for _ in 0..in_flight {
        let (connection, maps, bodies, next, note) = (connection.clone(), maps.clone(), bodies.clone(), next.clone(), note.clone());
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(body) = bodies.get(number) else { return Ok::<_, Failure>(()) };
                note(number);
                connection.post(&maps, body.clone()).await?;
            }
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    Ok(())
}

/// A watch of what happens from now on.
async fn watch(connection: &Connection, maps: &str) -> Result<Incoming, Failure> {
    let list = connection.get(&format!("{maps}?limit=1")).await?;
    let list: serde_json::Value = serde_json::from_slice(&list)?;
    let revision = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let path = format!("{maps}?watch=1&resourceVersion={revision}");
    let response = connection.open_stream(Method::GET, &path, Bytes::new()).await?;
    if response.status() != 200 {
        return Err(format!("watch: {}", response.status()).into());
    }
    Ok(response.into_body())
}

/// Milliseconds from the moment before a create is sent, with 8 in flight, to its event, the median.
pub async fn latency(connection: &Connection, maps: &str, count: usize) -> Result<f64, Failure> {
    let _awake = Awake::new();
    let mut events = watch(connection, maps).await?;
    let sent = Arc::new(Mutex::new(vec![Instant::now(); count]));
    let noted = sent.clone();
    let note = move |number: usize| noted.lock()[number] = Instant::now();
    let (connection, maps, bodies) = (connection.clone(), maps.to_owned(), config_maps("observed", count));
    let creating = tokio::spawn(async move { create_noting(&connection, &maps, bodies, 8, note).await });
    let mut took = Vec::with_capacity(count);
    let mut pending = Vec::new();
    while took.len() < count {
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
async fn throughput(target: &Target, creator: &Connection, maps: &str) -> Result<f64, Failure> {
    let mut watching = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let connection = target.connect(NAMESPACE).await?;
        for _ in 0..WATCHES / CONNECTIONS {
            let mut events = watch(&connection, maps).await?;
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
    create(creator, maps, told, 32).await?;
    while let Some(ended) = watching.join_next().await {
        ended??;
    }
    Ok((WATCHES * EVENTS) as f64 / begun.elapsed().as_secs_f64())
}
