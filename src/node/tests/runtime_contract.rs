//! One suite for every runtime: what a `Runtime` promises, tried on each that this machine can run.
//!
//! It has a `main` of its own, because the native runtime starts the executable again as its shim (`__shim`) and as the
//! demo server (`__kubia`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "contract/cases.rs"]
mod cases;
#[path = "contract/leftovers.rs"]
mod leftovers;
#[path = "contract/netns.rs"]
mod netns;
#[path = "contract/plain.rs"]
mod plain;
#[path = "contract/subject.rs"]
mod subject;

use std::ffi::OsString;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures::FutureExt;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match args.first().and_then(|word| word.to_str()) {
        Some("__shim") => return coracle_node::shim::main(&args[1..]),
        Some("__kubia") => return coracle_node::demo::main(&args[1..]),
        Some("__anchor") => return coracle_node::rootless::main(),
        Some(plain::WORD) => return plain::main(&args[1..]),
        _ => {}
    }
    suites(&args, false)
}

/// Runs what the arguments choose, of a plain user's runtime or of all others.
fn suites(args: &[OsString], plain: bool) -> ExitCode {
    let words: Vec<String> = args.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let filters: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let listing = words.iter().any(|word| word == "--list");
    let mut failed = false;
    for (subject, cases) in subject::subjects() {
        let wanted: Vec<_> = cases
            .into_iter()
            .filter(|case| filters.is_empty() || filters.iter().any(|filter| format!("{subject}::{}", case.name).contains(filter.as_str())))
            .collect();
        if listing {
            wanted.iter().for_each(|case| println!("{subject}::{}: test", case.name));
        } else if subject == subject::ROOTLESS && !plain {
            failed |= !wanted.is_empty() && !plain::run(args);
        } else if !wanted.is_empty() && plain == (subject == subject::ROOTLESS) {
            failed |= !run(subject, &wanted);
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// One line; what `CORACLE_TEST_REQUIRE` lists may not be skipped.
fn skipped(name: &str, reason: &str) -> bool {
    println!("test {name} ... skipped: {reason}");
    !std::env::var("CORACLE_TEST_REQUIRE").is_ok_and(|list| list.split(',').any(|word| word == name))
}

fn run(name: &str, cases: &[cases::Case]) -> bool {
    if let Some(reason) = subject::missing(name) {
        return skipped(name, &reason);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut good = true;
    let place = {
        let subject = runtime.block_on(subject::Subject::new(name));
        for case in cases {
            let begun = Instant::now();
            let guarded =
                AssertUnwindSafe(async { tokio::time::timeout(Duration::from_secs(120), (case.run)(&subject)).await }).catch_unwind();
            let result = runtime.block_on(guarded);
            let verdict = match result {
                Ok(Ok(())) => "ok",
                Ok(Err(_)) => "FAILED (it did not end)",
                Err(_) => "FAILED",
            };
            if verdict != "ok" {
                good = false;
                println!("{}", subject.shim_logs());
            }
            println!("test {name}::{} ... {verdict} ({} ms)", case.name, begun.elapsed().as_millis());
        }
        (runtime.block_on(subject.clear()), subject.place())
    };
    drop(runtime);
    let (mut left, place) = place;
    left.extend(leftovers::of(&place));
    if !left.is_empty() {
        println!("test {name}::leaves_nothing ... FAILED: {left:#?}");
        good = false;
    }
    good
}
