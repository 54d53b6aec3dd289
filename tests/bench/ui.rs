//! Speed and size of the terminal UI, against its budgets: `cargo bench --bench ui`.
//!
//! The UI runs as it does in a terminal, but for the terminal: messages in, frames out into memory. Its server is a function
//! that makes pods as they are asked for, so that what is measured is the UI. Figures vary between machines.
//! `cargo bench --bench ui -- WORD` runs only the parts whose name has the word.

use std::convert::Infallible;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use coracle_api::clock::ManualClock;
use coracle_tui::input::{Key, parse_macro};
use coracle_tui::theme::ColorDepth;
use coracle_tui::{Boot, Connection, Headless, Options};
use futures::StreamExt;
use futures::stream::BoxStream;
use http::{Request, Response};
use http_body_util::StreamBody;
use portable_pty::{CommandBuilder, PtySize, native_pty_system};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Frames = BoxStream<'static, Result<http_body::Frame<Bytes>, Infallible>>;

const NOW: &str = "2026-11-21T12:00:00Z";
/// Lines of the log that is read.
const LINES: usize = 1_000_000;

fn body(text: String) -> Response<StreamBody<Frames>> {
    Response::new(StreamBody::new(futures::stream::iter([Ok(http_body::Frame::data(Bytes::from(text)))]).boxed()))
}

fn silent() -> Response<StreamBody<Frames>> {
    Response::new(StreamBody::new(futures::stream::pending().boxed()))
}

/// A pod as a server of a busy cluster has it, about 1 KiB.
fn pod(number: usize) -> String {
    let status = if number.is_multiple_of(100) { "Failed" } else { "Running" };
    format!(
        r#"{{"metadata":{{"name":"web-{:x}-{number:06}","namespace":"default","uid":"uid-{number}","resourceVersion":"{number}","creationTimestamp":"2026-11-20T{:02}:{:02}:00Z","labels":{{"app":"web","tier":"front-{}"}},"ownerReferences":[{{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-1","uid":"u","controller":true}}]}},"spec":{{"nodeName":"node-{}","containers":[{{"name":"main","image":"registry.example.com/team/web:1.{}","ports":[{{"containerPort":8080}}],"resources":{{"requests":{{"cpu":"100m","memory":"64Mi"}}}}}}]}},"status":{{"phase":"{status}","podIP":"10.{}.{}.{}","conditions":[{{"type":"Ready","status":"True"}}],"containerStatuses":[{{"name":"main","ready":true,"restartCount":{},"state":{{"running":{{"startedAt":"2026-11-20T00:00:00Z"}}}}}}]}}}}"#,
        number % 4096,
        number / 60 % 24,
        number % 60,
        number % 7,
        number % 97,
        number % 9,
        number / 65_536 % 256,
        number / 256 % 256,
        number % 256,
        number % 5,
    )
}

fn page(total: usize, query: &str) -> String {
    let of = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse::<usize>().ok());
    let (from, limit) = (of("continue").unwrap_or(0), of("limit").unwrap_or(500));
    let to = (from + limit).min(total);
    let more = if to < total { to.to_string() } else { String::new() };
    let items: Vec<String> = (from..to).map(pod).collect();
    format!(
        r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"1","continue":"{more}"}},"items":[{}]}}"#,
        items.join(",")
    )
}

/// A log as fast as it is read, 256 lines at a time, and then silence.
fn log() -> Response<StreamBody<Frames>> {
    let pieces = futures::stream::iter(0..LINES / 256).map(|piece| {
        let line = |number: usize| {
            let number = piece * 256 + number;
            format!(
                "2026-11-21T11:{:02}:{:02}.{:09}Z {{\"level\":\"{}\",\"request\":{number},\"path\":\"/cart/checkout\",\"took\":0.{:03}}}\n",
                number / 60_000 % 60,
                number / 1_000 % 60,
                number % 1_000 * 1_000_000,
                if number.is_multiple_of(50) { "error" } else { "info" },
                number % 1_000
            )
        };
        Ok(http_body::Frame::data(Bytes::from((0..256).map(line).collect::<String>())))
    });
    Response::new(StreamBody::new(pieces.chain(futures::stream::pending()).boxed()))
}

fn server(total: usize) -> kube::Client {
    let service = tower::service_fn(move |request: Request<kube::client::Body>| async move {
        let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
        Ok::<_, Infallible>(match path.as_str() {
            _ if query.contains("watch=true") => silent(),
            "/version" => body(r#"{"gitVersion":"v1.36.0"}"#.to_owned()),
            "/api" => body(
                r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","items":[{"metadata":{"name":""},"versions":[{"version":"v1","resources":[{"resource":"pods","responseKind":{"kind":"Pod"},"scope":"Namespaced","singularResource":"pod","verbs":["get","list","watch"],"shortNames":["po"]}]}]}]}"#
                    .to_owned(),
            ),
            "/apis" => body(r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","items":[]}"#.to_owned()),
            _ if path.ends_with("/log") => log(),
            _ if query.contains("fieldSelector") => body(page(1, "")),
            _ if path.ends_with("/pods") => body(page(total, &query)),
            _ => {
                let mut answer = body(String::new());
                *answer.status_mut() = http::StatusCode::NOT_FOUND;
                answer
            }
        })
    });
    kube::Client::new(service, "default")
}

async fn ui(total: usize) -> Result<Headless, Failure> {
    let clock = Arc::new(ManualClock::new(NOW.parse()?));
    let options = Options { clock, colors: Some(ColorDepth::True), time_zone: jiff::tz::TimeZone::UTC, ..Options::default() };
    let connection = Connection {
        client: server(total),
        context: "bench".into(),
        server: "in this process".into(),
        namespace: Some("default".into()),
        embedded: false,
        folders: Vec::new(),
    };
    Ok(Headless::start(options, Boot::connected(connection), 160, 45).await?)
}

/// Resident memory in MB.
fn memory() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = text.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages * 4_096.0 / 1e6
}

/// Median and 99th percentile, in milliseconds.
fn percentiles(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort();
    let at =
        |part: usize| times.get((times.len() * part / 100).min(times.len().saturating_sub(1))).map_or(0.0, |time| time.as_secs_f64() * 1e3);
    (at(50), at(99))
}

fn line(what: &str, unit: &str, value: f64, budget: Option<f64>) {
    let budget = budget.map_or(String::from(" |"), |budget| format!("{budget} |"));
    println!("| {what} | {unit} | {value:.2} | {budget}");
}

/// From the press of a key to the frame that shows what it did.
fn press(ui: &mut Headless, key: Key) -> Duration {
    let begun = Instant::now();
    ui.key(key);
    ui.draw();
    begun.elapsed()
}

async fn rows(total: usize) -> Result<(), Failure> {
    let before = memory();
    let begun = Instant::now();
    let mut ui = ui(total).await?;
    let shown = ui.text();
    let loaded = begun.elapsed();
    let counted = coracle_tui::text::number::grouped(total);
    if !shown.contains(&format!("pods {counted}")) {
        return Err(format!("not all of {total} rows came:\n{shown}").into());
    }
    line(&format!("{total} rows: until all are there"), "ms", loaded.as_secs_f64() * 1e3, None);
    line(&format!("{total} rows: memory"), "MB", memory() - before, (total == 100_000).then_some(120.0));
    let mut times = Vec::new();
    for keys in ["j".repeat(200), "<pagedown>".repeat(100), "k".repeat(100), "GgGgGgGg".to_owned(), "<space>".repeat(20)] {
        for key in parse_macro(&keys)? {
            times.push(press(&mut ui, key));
        }
    }
    let (median, late) = percentiles(times);
    line(&format!("{total} rows: key to frame, moving, p50"), "ms", median, None);
    line(&format!("{total} rows: key to frame, moving, p99"), "ms", late, Some(16.0));
    let mut times = Vec::new();
    for keys in ["NAS", "AANNSS", "<shift-right><shift-right><shift-right>OO", "<ctrl-z><ctrl-z>"] {
        for key in parse_macro(keys)? {
            times.push(press(&mut ui, key));
        }
    }
    line(&format!("{total} rows: key to frame, sorting, slowest"), "ms", percentiles(times).1, Some(16.0));
    let mut times = Vec::new();
    for word in ["00777", "front", "status!=Running"] {
        for key in parse_macro(&format!("/{word}<esc>"))? {
            times.push(press(&mut ui, key));
        }
    }
    line(&format!("{total} rows: key to frame, filtering, slowest"), "ms", percentiles(times).1, Some(16.0));
    // nothing happens: nothing is drawn
    ui.settle().await;
    ui.draw();
    let frames = ui.frames;
    for _ in 0..20 {
        ui.wait(Duration::from_millis(100)).await;
        ui.draw();
    }
    line(&format!("{total} rows: frames in 2 s, idle"), "", (ui.frames - frames) as f64, Some(0.0));
    Ok(())
}

async fn logs() -> Result<(), Failure> {
    let mut ui = ui(1).await?;
    let before = memory();
    let begun = Instant::now();
    for key in parse_macro("l1")? {
        ui.key(key);
    }
    let wanted = format!("{} lines", coracle_tui::text::number::grouped(LINES / 256 * 256));
    let mut times = Vec::new();
    let down = parse_macro("k")?[0];
    let mut pressed = Instant::now();
    loop {
        ui.wait(Duration::from_millis(16)).await;
        // somebody scrolls about meanwhile, at twenty keys a second
        if pressed.elapsed() > Duration::from_millis(50) {
            pressed = Instant::now();
            times.push(press(&mut ui, down));
        }
        if ui.app.view().is_some_and(|view| view.counts().contains(&wanted)) {
            break;
        }
        if begun.elapsed() > Duration::from_secs(120) {
            return Err("the log did not come".into());
        }
    }
    let took = begun.elapsed().as_secs_f64();
    line("log lines taken in", "per s", LINES as f64 / took, Some(100_000.0));
    line("key to frame meanwhile, p99", "ms", percentiles(times).1, Some(16.0));
    line(&format!("memory of {LINES} lines"), "MB", memory() - before, None);
    for (what, keys) in [("filter", "/checkout"), ("filter by level", "/level>=error"), ("search", "<ctrl-f>99")] {
        for key in parse_macro("<esc><esc>")? {
            ui.key(key);
        }
        let times: Vec<Duration> = parse_macro(keys)?.into_iter().map(|key| press(&mut ui, key)).collect();
        line(&format!("{LINES} lines: {what}, slowest key"), "ms", percentiles(times).1, None);
        for key in parse_macro("<enter><esc>")? {
            ui.key(key);
        }
    }
    Ok(())
}

/// From the start of the program to the first frame on a terminal.
fn first_frame() -> Result<(), Failure> {
    let place = tempfile::tempdir()?;
    let kubeconfig = place.path().join("config");
    // a server that is not there: the frame must not wait for it
    std::fs::write(
        &kubeconfig,
        "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters:\n- name: a\n  cluster: {server: 'http://127.0.0.1:9'}\ncontexts:\n- name: a\n  context: {cluster: a, user: a}\nusers:\n- name: a\n  user: {}\n",
    )?;
    let mut times = Vec::new();
    for _ in 0..9 {
        let pair = native_pty_system().openpty(PtySize { rows: 45, cols: 160, pixel_width: 0, pixel_height: 0 })?;
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_coracle"));
        command.args(["tui", "--kubeconfig"]);
        command.arg(&kubeconfig);
        command.env("HOME", place.path());
        command.env("TERM", "xterm-256color");
        let mut output = pair.master.try_clone_reader()?;
        let begun = Instant::now();
        let mut child = pair.slave.spawn_command(command)?;
        let mut seen = Vec::new();
        let mut bytes = [0; 4096];
        while !String::from_utf8_lossy(&seen).contains("pods") {
            let read = output.read(&mut bytes)?;
            if read == 0 {
                return Err("it drew nothing".into());
            }
            seen.extend_from_slice(&bytes[..read]);
        }
        times.push(begun.elapsed());
        child.kill()?;
        child.wait()?;
    }
    line("start to first frame, p50", "ms", percentiles(times).0, Some(50.0));
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |part: &str| words.is_empty() || words.iter().any(|word| part.contains(word.as_str()));
    println!("| what | unit | measured | budget |\n|---|---|---:|---:|");
    for total in [1_000, 10_000, 100_000] {
        if wanted(&format!("rows {total}")) {
            rows(total).await?;
        }
    }
    if wanted("logs") {
        logs().await?;
    }
    if wanted("first frame") {
        first_frame()?;
    }
    Ok(())
}
