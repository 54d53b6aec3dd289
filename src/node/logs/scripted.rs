//! Logs of containers that do not write any.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::seams::LogOptions;
use futures::stream::BoxStream;
use tokio::sync::mpsc;

use super::{Filter, Piece};
use crate::runtime::Runtime;

/// The scripted log as a stream.
pub(crate) fn stream(runtime: Arc<dyn Runtime>, id: String, options: LogOptions) -> BoxStream<'static, Piece> {
    let (pieces, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        let closed = pieces.clone();
        tokio::select! {
            () = run(runtime, id, options, pieces) => {}
            () = closed.closed() => {}
        }
    });
    Box::pin(futures::stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|piece| (piece, receiver)) }))
}

async fn run(runtime: Arc<dyn Runtime>, id: String, options: LogOptions, pieces: mpsc::Sender<Piece>) {
    let mut filter = Filter::new(&options);
    let mut after = None;
    let mut tail = options.tail_lines;
    let mut events = runtime.events();
    loop {
        let Some(log) = runtime.scripted_log(&id, after).await else { return };
        let keep = tail.take().map_or(log.lines.len(), |tail| usize::try_from(tail).unwrap_or(usize::MAX).min(log.lines.len()));
        let mut out = Vec::new();
        let mut more = true;
        for (time, text) in &log.lines[log.lines.len() - keep..] {
            more = more && filter.push(format!("{time} stdout F {text}").as_bytes(), &mut out);
        }
        after = log.lines.last().map(|(time, _)| *time).or(after).or(Some(jiff::Timestamp::UNIX_EPOCH));
        if (!out.is_empty() && pieces.send(Ok(Bytes::from(out))).await.is_err()) || !more || !options.follow {
            return;
        }
        match log.next {
            Some(wait) => tokio::time::sleep(wait).await,
            // Nothing more is written, but the container runs on: the reader waits for its end.
            None if is_running(runtime.as_ref(), &id).await => {
                let _ = events.recv().await;
            }
            None => return,
        }
    }
}

async fn is_running(runtime: &dyn Runtime, id: &str) -> bool {
    runtime.usage(id).await.is_ok()
}
