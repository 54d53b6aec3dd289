//! Speed and size of the API, against their budgets: `cargo bench --bench load`.
//!
//! Starts the program with the simulated runtime in a directory of its own, speaks HTTP/2 over TLS with a service account's
//! token, and prints one table. With `REFERENCE_KUBECONFIG` the same load goes to that cluster too (in namespaces made and
//! deleted for it), and the table has its figures and the ratio. Figures vary between machines; ratios hold.
//! `cargo bench --bench load -- WORD` runs only the parts whose name has the word. The part `pods` runs containers: it needs
//! root, and is left out without.

#[path = "measure/connection.rs"]
mod connection;
#[path = "measure/growth.rs"]
mod growth;
#[path = "measure/pods.rs"]
mod pods;
#[path = "measure/process.rs"]
mod process;
#[path = "measure/report.rs"]
mod report;
#[path = "measure/requests.rs"]
mod requests;
#[path = "measure/screen.rs"]
mod screen;
#[path = "measure/services.rs"]
mod services;
#[path = "measure/target.rs"]
mod target;
#[path = "measure/workload.rs"]
mod workload;

use std::time::Duration;

use process::Server;
use report::{Report, Row};
use target::Target;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Starts that are measured; the table has their median.
const STARTS: usize = 5;
/// How long a cluster is left alone before it counts as idle, and for how long it is then looked at.
const SETTLE: Duration = Duration::from_secs(8);
const LOOK: Duration = Duration::from_secs(60);
/// After this time what becomes of lost nodes is done, but for their pods.
const LOST: Duration = Duration::from_secs(75);

// One thread: a request that changes threads on its way would take longer at this end, which is not what is measured.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |part: &str| words.is_empty() || words.iter().any(|word| part.contains(word.as_str()));
    let mut report = Report::default();
    if wanted("start") {
        starts(&mut report).await?;
    }
    if wanted("idle") {
        let server = Server::start(1).await?;
        tokio::time::sleep(SETTLE).await;
        report.ours(Row::IdleMemory, server.memory()?);
        let used = server.processor(LOOK).await?;
        report.ours(Row::IdleProcessor, used.as_secs_f64() / LOOK.as_secs_f64() * 100.0);
        report.ours(Row::IdleMinute, used.as_secs_f64() * 1e3);
        server.stop().await?;
    }
    if wanted("actors") {
        // Without nodes: what is left is the server, the controllers and the scheduler.
        let server = Server::start(2).await?;
        server.node_ready().await?;
        for node in ["node-1", "node-2"] {
            server
                .target
                .client
                .request_text(hyper::Request::post(format!("/coracle/v1/nodes/stop?name={node}")).body(Vec::new())?)
                .await?;
        }
        tokio::time::sleep(LOST).await;
        report.ours(Row::IdleActors, server.processor(LOOK).await?.as_secs_f64() * 1e3);
        server.stop().await?;
    }
    if wanted("requests") {
        let server = Server::start(1).await?;
        server.node_ready().await?;
        tokio::time::sleep(SETTLE).await;
        let figures = requests::measure(&server.target).await?;
        figures.into_iter().for_each(|(row, value)| report.ours(row, value));
        server.stop().await?;
    }
    if wanted("workload") {
        let server = Server::start(workload::USUAL.nodes).await?;
        let work = workload::run(&server.target, workload::USUAL).await?;
        report.ours(Row::Bound, work.bound.as_secs_f64());
        tokio::time::sleep(SETTLE).await;
        report.ours(Row::LoadedMemory, server.memory()?);
        eprintln!("all pods ran after {:.2} s", work.running.as_secs_f64());
        server.stop().await?;
    }
    if wanted("large") {
        let server = Server::start(workload::LARGE.nodes).await?;
        let screen = screen::open(&server.kubeconfig())?;
        let work = workload::run(&server.target, workload::LARGE).await?;
        report.ours(Row::BoundLarge, work.bound.as_secs_f64());
        eprintln!("all pods ran after {:.2} s; the UI drew {} bytes", work.running.as_secs_f64(), screen.close()?);
        server.stop().await?;
    }
    if wanted("pods") {
        pods::measure(&mut report)?;
    }
    if let Ok(file) = std::env::var("REFERENCE_KUBECONFIG") {
        let target = Target::of_kubeconfig(file.as_ref()).await?;
        if wanted("requests") {
            requests::measure(&target).await?.into_iter().for_each(|(row, value)| report.reference(row, value));
        }
        if wanted("workload") {
            let work = workload::run(&target, workload::USUAL).await?;
            report.reference(Row::Bound, work.bound.as_secs_f64());
        }
    }
    print!("{report}");
    if wanted("growth") {
        print!("\n{}", growth::measure().await?);
    }
    if wanted("services") {
        print!("\n{}", tokio::task::spawn_blocking(services::measure).await??);
    }
    Ok(())
}

async fn starts(report: &mut Report) -> Result<(), Failure> {
    let (mut answered, mut ready) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let server = Server::start(1).await?;
        answered.push(server.answered.as_secs_f64());
        ready.push(server.node_ready().await?.as_secs_f64());
        server.stop().await?;
    }
    report.ours(Row::Answers, report::median(&mut answered));
    report.ours(Row::NodeReady, report::median(&mut ready));
    Ok(())
}
