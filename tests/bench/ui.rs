//! Speed and size of the terminal UI, against its budgets: `cargo bench --bench ui`.
//!
//! The UI runs as it does in a terminal, but for the terminal: messages in, frames out into memory. Its server is a function
//! that makes pods as they are asked for, so that what is measured is the UI. Each part has a process of its own: memory is
//! that of the process, the server of the pods included. Figures vary between machines.
//! `cargo bench --bench ui -- WORD` runs only the parts whose name has the word.

use std::convert::Infallible;
use std::io::Read;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use coracle_api::clock::ManualClock;
use coracle_tui::input::{Key, parse_macro};
use coracle_tui::text::number::grouped;
use coracle_tui::theme::ColorDepth;
use coracle_tui::{Boot, Connection, Headless, Options};
use futures::StreamExt;
use futures::stream::BoxStream;
use http::{Request, Response};
use http_body_util::StreamBody;
use portable_pty::{CommandBuilder, PtySize, native_pty_system};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Frames = BoxStream<'static, Result<http_body::Frame<Bytes>, Infallible>>;

/// As the program has it: memory is compared.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW: &str = "2026-11-21T12:00:00Z";
/// The variable that names the part a process is for.
const PART: &str = "CORACLE_BENCH_PART";
/// Least time between two frames of a terminal.
const FRAME: Duration = Duration::from_millis(16);
/// Lines of the log that is read.
const LINES: usize = 3_906 * 256;

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
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    resident.unwrap_or_default() * 1_024.0 / 1e6
}

/// So much of them all, in milliseconds: 50 is the median, 100 the slowest.
fn percentile(times: &mut [Duration], part: usize) -> f64 {
    times.sort();
    let at = (times.len() * part / 100).min(times.len().saturating_sub(1));
    times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

fn line(what: &str, measured: f64, unit: &str, budget: &str) {
    let measured = if measured >= 1e4 { grouped(measured as usize) } else { format!("{measured:.1}") };
    println!("| {what} | {measured} {unit} | {budget} |");
}

/// From the press of a key to the frame that shows what it did.
fn press(ui: &mut Headless, key: Key) -> Duration {
    let begun = Instant::now();
    ui.key(key);
    ui.draw();
    begun.elapsed()
}

fn press_all(ui: &mut Headless, keys: &str) -> Result<Vec<Duration>, Failure> {
    Ok(parse_macro(keys)?.into_iter().map(|key| press(ui, key)).collect())
}

/// What the view shown counts.
fn counts(ui: &Headless) -> String {
    ui.app.view().map(|view| view.counts()).unwrap_or_default()
}

/// A measurement is worth something only if what was measured happened.
fn so(holds: bool, what: &str, seen: &str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(format!("{what}: {seen}").into()) }
}

async fn rows(total: usize) -> Result<(), Failure> {
    let all = grouped(total);
    let begun = Instant::now();
    let mut ui = ui(total).await?;
    let shown = ui.text();
    line(&format!("{all} rows: from nothing to all of them"), begun.elapsed().as_secs_f64() * 1e3, "ms", "");
    so(shown.contains(&format!("pods {all}")), "not all rows came", &shown)?;
    so(shown.contains("RESTARTS") && shown.contains("10.0.0."), "rows lack columns", &shown)?;
    line(&format!("{all} rows: memory"), memory(), "MB", if total == 100_000 { "≤ 120" } else { "" });
    let mut times = Vec::new();
    for keys in ["j".repeat(200), "<pagedown>".repeat(100), "k".repeat(100), "GgGgGgGg".to_owned(), "<space>".repeat(20)] {
        times.extend(press_all(&mut ui, &keys)?);
    }
    line(&format!("{all} rows: key to frame, moving, median"), percentile(&mut times, 50), "ms", "");
    line(&format!("{all} rows: key to frame, moving, p99"), percentile(&mut times, 99), "ms", "");
    let mut every = times;
    let mut times = press_all(&mut ui, "NASAANNSS<shift-right><shift-right><shift-right>OO<ctrl-z>")?;
    let faults = format!("{}/{all}", grouped(total / 100));
    so(counts(&ui) == faults, "what is not well is a hundredth", &counts(&ui))?;
    times.extend(press_all(&mut ui, "<ctrl-z>")?);
    line(&format!("{all} rows: key to frame, sorting, slowest"), percentile(&mut times, 100), "ms", "");
    every.extend(times);
    let mut times = Vec::new();
    for word in ["00077", "node-7", "status!=Running"] {
        times.extend(press_all(&mut ui, &format!("/{word}"))?);
        so(counts(&ui).contains('/'), "the filter filters", &format!("{word}: {}", counts(&ui)))?;
        times.extend(press_all(&mut ui, "<esc>")?);
    }
    so(counts(&ui) == all, "all are there again", &counts(&ui))?;
    line(&format!("{all} rows: key to frame, filtering, slowest"), percentile(&mut times, 100), "ms", "");
    every.extend(times);
    line(&format!("{all} rows: key to frame, all of these keys, p99"), percentile(&mut every, 99), "ms", "≤ 16");
    // nothing happens, though the server is asked whether it is there: nothing is drawn
    ui.settle().await;
    ui.draw();
    let frames = ui.frames;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(11) {
        ui.wait(Duration::from_millis(100)).await;
        ui.draw();
    }
    line(&format!("{all} rows: frames in 11 s without news"), (ui.frames - frames) as f64, "", "0");
    Ok(())
}

async fn logs() -> Result<(), Failure> {
    let mut ui = ui(1).await?;
    let before = memory();
    let all = grouped(LINES);
    let begun = Instant::now();
    press_all(&mut ui, "l1")?;
    let up = parse_macro("k")?.remove(0);
    let (mut times, mut drawn) = (Vec::new(), begun);
    // somebody scrolls about meanwhile, at twenty keys a second; a key waits until what was begun before it is done
    let mut due = begun;
    while !counts(&ui).starts_with(&format!("{all} lines")) {
        so(begun.elapsed() < Duration::from_secs(120), "the log did not come", &counts(&ui))?;
        if Instant::now() >= due {
            press(&mut ui, up);
            times.push(due.elapsed());
            (due, drawn) = (Instant::now() + Duration::from_millis(50), Instant::now());
        }
        ui.wait(FRAME.min(due.saturating_duration_since(Instant::now()))).await;
        if drawn.elapsed() >= FRAME {
            ui.draw();
            drawn = Instant::now();
        }
    }
    line("log lines taken in, in a second", LINES as f64 / begun.elapsed().as_secs_f64(), "", "≥ 100,000");
    line("key to frame meanwhile, p99", percentile(&mut times, 99), "ms", "≤ 16");
    line(&format!("memory that {all} lines take"), memory() - before, "MB", "");
    for (what, typed, over) in
        [("filter", "/checkout", "<ctrl-u>"), ("filter by level", "/level>=error", "<ctrl-u>"), ("search", "<ctrl-f>99", "<esc>")]
    {
        let mut times = press_all(&mut ui, &format!("{typed}<enter>"))?;
        line(&format!("{all} lines: {what}, slowest key"), percentile(&mut times, 100), "ms", "");
        let shown = counts(&ui);
        so(shown.contains('/'), "lines are found", &shown)?;
        press_all(&mut ui, over)?;
        so(counts(&ui).starts_with(&format!("{all} lines")), "all are there again", &counts(&ui))?;
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
        // nobody's configuration
        for name in ["HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"] {
            command.env(name, place.path());
        }
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
    line("start to first frame, median", percentile(&mut times, 50), "ms", "≤ 50");
    Ok(())
}

/// Runs one part in this process.
fn run(part: &str) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match part {
        "logs" => runtime.block_on(logs()),
        "first frame" => first_frame(),
        rows_of => {
            let total = rows_of.trim_start_matches("rows ").parse()?;
            runtime.block_on(rows(total))
        }
    }
}

fn main() -> Result<ExitCode, Failure> {
    if let Ok(part) = std::env::var(PART) {
        return run(&part).map(|()| ExitCode::SUCCESS);
    }
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    println!("| what | measured | budget |\n|---|---:|---:|");
    let mut code = ExitCode::SUCCESS;
    for part in ["rows 1000", "rows 10000", "rows 100000", "logs", "first frame"] {
        let wanted = words.is_empty() || words.iter().any(|word| part.contains(word.as_str()));
        if wanted && !Command::new(std::env::current_exe()?).env(PART, part).status()?.success() {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}
