//! Images, and what is made of them.

use std::io::{Read, Write};
use std::time::Duration;

use coracle_api::seams::StreamOptions;
use coracle_node::runtime::RuntimeError;
use tokio::io::AsyncWriteExt;

use super::both;
use crate::subject::{IMAGE, Subject};

pub async fn images_are_listed_and_removed(subject: &Subject) {
    let runtime = subject.runtime();
    let image = runtime.image(IMAGE).await.unwrap().unwrap();
    assert_eq!(image.tags, [IMAGE]);
    assert!(image.size > 100_000);
    assert_eq!(runtime.image(&image.id).await.unwrap(), Some(image.clone()));
    assert!(runtime.images().await.unwrap().contains(&image));
    assert!(runtime.image("none").await.unwrap().is_none());
    let error = runtime.pull_image("127.0.0.1:9/none", &[]).await.unwrap_err().to_string();
    assert!(error.starts_with("failed to pull and unpack image \"127.0.0.1:9/none:latest\": failed to resolve image"), "{error}");
    assert!(matches!(runtime.remove_image("none").await, Err(RuntimeError::NotFound { .. })));
    assert!(runtime.load_images(std::path::Path::new("/dev/null")).await.is_err());
}

pub async fn the_demo_server(subject: &Subject) {
    let runtime = subject.runtime();
    let mut config = subject.script("web", "");
    config.command.clear();
    config.image = "coracle.local/kubia:1.1".to_owned();
    assert!(runtime.image(&config.image).await.unwrap().is_some());
    let (sandbox, id) = subject.started("kubia", &config).await;
    subject.log(&id, "Listening on port 8080").await;
    let connect = || {
        let mut stream = std::net::TcpStream::connect("127.0.0.1:8080").unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let answer = subject.inside(&sandbox, connect).await;
    assert!(answer.ends_with("\n\r\nHey there, this is kubia. Your IP is 127.0.0.1.\n"), "{answer}");
    assert!(subject.log(&id, "Received request for /").await.contains("from 127.0.0.1"));
    runtime.stop_container(&id, None, Duration::from_secs(20)).await.unwrap();
    assert_eq!(subject.ended(&id).await, (0, "Completed".to_owned()));

    config.image = "coracle.local/kubia:1.0-stdin".to_owned();
    config.stdin = true;
    let (_, id) = subject.started("kubia-stdin", &config).await;
    let mut session = runtime.attach(&id, StreamOptions { stdin: true, ..both() }).await.unwrap();
    session.stdin.as_mut().unwrap().write_all(b"Howdy\n").await.unwrap();
    subject.log(&id, "Greeting set to: Howdy").await;
    // Without a handler the first process does not hear TERM.
    runtime.stop_container(&id, None, Duration::from_millis(100)).await.unwrap();
    assert_eq!(subject.ended(&id).await.0, 137);
}
