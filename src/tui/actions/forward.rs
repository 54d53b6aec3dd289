//! Port-forwards and benchmarks.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::object::{on_object, selector, target};
use crate::action::Scopes;
use crate::app::App;
use crate::keep::forwards::{Forward, Pods, State, Wish, ports_of};
use crate::kinds::Target;
use crate::shared::Level;
use crate::source::call::Call;
use crate::source::work::work;
use crate::table::{Column, Health, Row};
use crate::text::number::grouped;
use crate::views::table::{Made, TableView};
use crate::widgets::dialog::{Dialog, Field};

/// Asks which port to forward.
pub fn ask(app: &mut App) {
    let Some(target) = target(app) else { return };
    on_object(app, target, |app, target, object| {
        let ports = ports_of(&object);
        let (remote, shown) = ports.first().cloned().unwrap_or_default();
        let pods = if target.kind.is("", "pods") { Some(Pods::Name(target.name.clone())) } else { selector(&object).map(Pods::Labels) };
        let Some(pods) = pods else { return app.shared.say(Level::Error, format!("{} selects no pods", target.shown())) };
        let known = ports.iter().map(|(_, shown)| shown.as_str()).collect::<Vec<_>>().join(", ");
        let line =
            format!("Forward to {}{}.", target.shown(), if known.is_empty() { String::new() } else { format!(", which has {known}") });
        // ports below 1024 are not ours to listen on
        let local = match shown.parse::<u16>() {
            Ok(port) if port < 1024 => (8000 + port).to_string(),
            _ => shown.clone(),
        };
        let address = app.shared.config.settings().port_forward_address.clone().unwrap_or_else(|| "127.0.0.1".to_owned());
        let fields = vec![Field::text("port there", &remote), Field::text("port here", &local), Field::text("address here", &address)];
        app.lay(Box::new(Dialog::form("port-forward", vec![line], fields, move |app, answers| begin(app, &target, pods, &answers))));
    });
}

fn begin(app: &mut App, target: &Target, pods: Pods, answers: &[String]) {
    let answer = |index: usize| answers.get(index).cloned().unwrap_or_default();
    let Some(local) = answer(1).parse().ok().filter(|_| !answer(0).is_empty()) else {
        return app.shared.say(Level::Error, format!("{} is no port", if answer(0).is_empty() { answer(0) } else { answer(1) }));
    };
    let wish = Wish {
        of: target.shown(),
        resource: format!("{}/{}", target.kind.plural, target.name),
        namespace: target.namespace.clone(),
        pods,
        remote: answer(0),
        address: answer(2),
        local,
    };
    app.shared.start_forward(wish);
}

fn columns() -> Vec<Column> {
    ["Name", "Namespace", "Port", "Local", "State", "Pod", "Conns", "Sent", "Received"]
        .iter()
        .map(|name| Column::new(name, if matches!(*name, "Conns" | "Sent" | "Received") { "integer" } else { "string" }, false))
        .collect()
}

fn row(forward: &Forward) -> Row {
    let count = |of: &std::sync::atomic::AtomicU64| of.load(Ordering::Relaxed).to_string();
    let (state, health) = match &forward.state {
        State::Active => ("active".to_owned(), Health::Fine),
        State::Stopped => ("stopped".to_owned(), Health::Done),
        State::Failed(why) => (why.clone(), Health::Faulty),
    };
    let wish = &forward.wish;
    let cells = [
        wish.of.clone(),
        wish.namespace.clone(),
        wish.remote.clone(),
        if forward.listens.is_empty() { format!("{}:{}", wish.address, wish.local) } else { forward.listens.clone() },
        state,
        forward.pod.clone(),
        count(&forward.traffic.connections),
        count(&forward.traffic.sent),
        count(&forward.traffic.received),
    ];
    Row::made(&cells, health).keyed(&format!("{:08}", forward.number))
}

/// The table of port-forwards, of one object or all.
pub fn table(of: Option<&Target>) -> TableView {
    let only = of.cloned();
    TableView::made(Made {
        of: of.map(Target::shown).unwrap_or_default(),
        command: of.is_none().then(|| "port-forwards".to_owned()),
        scopes: Scopes::FORWARDS,
        hints: &["help", "back", "start-forward", "stop-forward", "bench-forward"],
        ..Made::new("port-forwards", move |shared| {
            let (forwards, only) = (shared.forwards.clone(), only.clone());
            work(move |outside| async move {
                let mut changes = forwards.changes();
                loop {
                    let all = only.as_ref().map_or_else(|| forwards.all(), |target| forwards.of(target));
                    if !outside.table(&columns(), all.iter().map(row).collect()) || changes.changed().await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            })
        })
    })
}

/// The port-forwards of the object.
pub fn show(app: &mut App) {
    let target = target(app);
    app.push(Box::new(table(target.as_ref())));
}

/// The forward under the cursor.
fn current(app: &mut App) -> Vec<Forward> {
    let mut numbers = Vec::new();
    app.with(|view: &mut TableView, _| numbers = view.chosen().iter().filter_map(|row| row.name().parse::<u64>().ok()).collect());
    app.shared.forwards.all().into_iter().filter(|forward| numbers.contains(&forward.number)).collect()
}

/// Stops a forward and forgets it.
pub fn stop(app: &mut App) {
    for forward in current(app) {
        app.shared.stop_forward(forward.number, true);
        app.shared.say(Level::Done, format!("the port-forward to {} is stopped", forward.wish.of));
    }
}

/// Starts a forward that is stopped, or stops it.
pub fn toggle(app: &mut App) {
    for forward in current(app) {
        match forward.state {
            State::Active => app.shared.stop_forward(forward.number, false),
            _ => drop(app.shared.start_forward(forward.wish)),
        }
    }
}

/// Benchmarks what is behind a forward.
pub fn bench_forward(app: &mut App) {
    if let Some(forward) = current(app).pop() {
        let Wish { namespace, of, remote, resource, .. } = forward.wish;
        let pod = if forward.pod.is_empty() { resource.strip_prefix("pods/").map(str::to_owned) } else { Some(forward.pod) };
        let Some(pod) = pod else { return app.shared.say(Level::Info, "no connection has found a pod yet") };
        ask_bench(app, of, format!("/api/v1/namespaces/{namespace}/pods/{pod}:{remote}/proxy"));
    }
}

/// Benchmarks a service.
pub fn bench(app: &mut App) {
    let Some(target) = target(app) else { return };
    on_object(app, target, |app, target, object| {
        let port = ports_of(&object).first().map(|(_, port)| port.clone()).unwrap_or_default();
        ask_bench(app, target.shown(), format!("{}:{port}/proxy", target.path()));
    });
}

fn ask_bench(app: &mut App, of: String, base: String) {
    let fields = vec![Field::text("path", "/"), Field::text("requests", "200"), Field::text("at once", "4")];
    app.lay(Box::new(Dialog::form(
        "benchmark",
        vec![format!("GET requests to {of}, through the API server.")],
        fields,
        move |app, answers| {
            let answer = |index: usize| answers.get(index).cloned().unwrap_or_default();
            let (Ok(requests), Ok(at_once)) = (answer(1).parse::<usize>(), answer(2).parse::<usize>()) else {
                return app.shared.say(Level::Error, "requests and how many at once are numbers");
            };
            let path = format!("{base}/{}", answer(0).trim_start_matches('/'));
            app.shared.jobs += 1;
            app.shared.say(Level::Info, format!("benchmark of {of}: {requests} requests, {at_once} at once"));
            app.shared.work(move |outside| async move {
                let Ok(client) = outside.client() else { return };
                let report = measure(&client, &path, requests.clamp(1, 1_000_000), at_once.clamp(1, 256)).await;
                outside.then(move |app| {
                    app.shared.jobs = app.shared.jobs.saturating_sub(1);
                    let summary = report.lines().next().unwrap_or_default().to_owned();
                    app.shared.say(Level::Done, format!("benchmark of {of}: {summary}"));
                    super::session::keep_file(
                        app,
                        "benchmarks",
                        &format!("{}.txt", of.replace(' ', "-")),
                        &format!("{of} {path}\n{report}"),
                    );
                });
            });
        },
    )));
}

async fn measure(client: &kube::Client, path: &str, requests: usize, at_once: usize) -> String {
    use futures::StreamExt;
    let begun = Instant::now();
    let asks = futures::stream::iter((0..requests).map(|_| async {
        let started = Instant::now();
        let request = Call { accept: "*/*", ..Call::get(path) }.request();
        let answer = match request {
            Ok(request) => client.request_text(request).await.map_err(crate::source::fault::Fault::from),
            Err(fault) => Err(fault),
        };
        (started.elapsed(), answer.map(|text| text.len()))
    }));
    let answers: Vec<_> = asks.buffer_unordered(at_once).collect().await;
    let took = begun.elapsed();
    let mut times: Vec<Duration> = answers.iter().map(|(time, _)| *time).collect();
    times.sort();
    let at = |share: f64| times.get(((times.len() as f64 - 1.0) * share) as usize).copied().unwrap_or_default();
    let failed: Vec<&crate::source::fault::Fault> = answers.iter().filter_map(|(_, answer)| answer.as_ref().err()).collect();
    let bytes: usize = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok()).sum();
    let mut report = format!(
        "{:.0} requests/s, p50 {:?}, p99 {:?}, {} failed\nrequests {requests}, {at_once} at once, in {took:?}\nbytes    {}\n",
        requests as f64 / took.as_secs_f64().max(1e-9),
        at(0.5),
        at(0.99),
        failed.len(),
        grouped(bytes),
    );
    for share in [0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0] {
        report.push_str(&format!("{:>4.0} %   {:?}\n", share * 100.0, at(share)));
    }
    if let Some(fault) = failed.first() {
        report.push_str(&format!("first failure: {}\n", fault.message));
    }
    report
}
