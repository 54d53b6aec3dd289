#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use futures::StreamExt;
use rstest::rstest;
use std::io::Write;
use std::sync::Arc;
use tempfile::tempdir;

use super::*;
use crate::runtime::simulated::Simulated;
use crate::runtime::{ContainerConfig, Runtime, SandboxConfig};

const LOG: &str = "2026-01-01T00:00:00.000000001Z stdout F one\n\
                   2026-01-01T00:00:01.000000000Z stderr F two\n\
                   2026-01-01T00:00:02.000000000Z stdout P thr\n\
                   2026-01-01T00:00:02.000000001Z stdout F ee\n\
                   2026-01-01T00:00:03.000000000Z stdout F \n\
                   2026-01-01T00:00:04.00000";

async fn read(options: LogOptions) -> String {
    let dir = tempdir().unwrap();
    let path = dir.path().join("0.log");
    std::fs::write(&path, LOG).unwrap();
    let source = Source { runtime: Arc::new(Simulated::default()), pod_uid: String::new(), container_id: String::new() };
    let pieces: Vec<Bytes> = stream(Opened { path, options }, source).map(|piece| piece.unwrap()).collect().await;
    String::from_utf8(pieces.concat()).unwrap()
}

#[rstest]
#[case::all(LogOptions::default(), "one\ntwo\nthree\n\n")]
#[case::tail(LogOptions { tail_lines: Some(1), ..Default::default() }, "")]
#[case::tail_two(LogOptions { tail_lines: Some(2), ..Default::default() }, "\n")]
#[case::tail_none(LogOptions { tail_lines: Some(0), ..Default::default() }, "")]
#[case::limit(LogOptions { limit_bytes: Some(5), ..Default::default() }, "one\nt")]
#[case::since(LogOptions { since: Some("2026-01-01T00:00:02Z".parse().unwrap()), ..Default::default() }, "three\n\n")]
#[case::one_stream(LogOptions { stream: Some("Stderr".into()), ..Default::default() }, "two\n")]
#[case::stamps(
    LogOptions { timestamps: true, since: Some("2026-01-01T00:00:01Z".parse().unwrap()), limit_bytes: Some(73), ..Default::default() },
    "2026-01-01T00:00:01.000000000Z two\n2026-01-01T00:00:02.000000000Z three\n2"
)]
#[tokio::test]
async fn reading(#[case] options: LogOptions, #[case] expected: &str) {
    assert_eq!(read(options).await, expected);
}

#[tokio::test]
async fn a_followed_log_goes_on_through_rotation_and_ends_with_its_container() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("0.log");
    let line = |text: &str| format!("2026-01-01T00:00:00Z stdout F {text}\n");
    std::fs::write(&path, line("one")).unwrap();
    let runtime = Arc::new(Simulated::default());
    let sandbox = runtime.run_sandbox(&SandboxConfig { uid: "u".into(), ..Default::default() }).await.unwrap();
    let id = runtime.create_container(&sandbox, &ContainerConfig::default()).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    let source = Source { runtime: runtime.clone(), pod_uid: "u".into(), container_id: id.clone() };
    let options = LogOptions { follow: true, ..LogOptions::default() };
    let mut pieces = stream(Opened { path: path.clone(), options }, source);
    let mut next = async || pieces.next().await.map(|piece| String::from_utf8(piece.unwrap().to_vec()).unwrap());
    assert_eq!(next().await.unwrap(), "one\n");
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(line("two").as_bytes()).unwrap();
    assert_eq!(next().await.unwrap(), "two\n");
    std::fs::rename(&path, dir.path().join("0.log.1")).unwrap();
    std::fs::write(&path, line("three")).unwrap();
    assert_eq!(next().await.unwrap(), "three\n");
    runtime.stop_container(&id, None, std::time::Duration::ZERO).await.unwrap();
    assert_eq!(next().await, None);
}

#[tokio::test]
async fn the_end_of_a_log_is_a_message() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("0.log");
    let lines: String = (0..100).map(|index| format!("2026-01-01T00:00:00Z stdout F log line {index}\n")).collect();
    std::fs::write(&path, lines).unwrap();
    let text = last_lines(&path, 80, 2_048).await;
    assert!(text.starts_with("log line 20\n") && text.ends_with("log line 99\n"));
    assert_eq!(last_lines(&path, 80, 5).await, "e 99\n");
}
