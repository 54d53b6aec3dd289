//! Reading a log file, and going on as it grows, is rotated, and ends.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc;

use super::{Filter, Opened, Piece, tail_offset};
use crate::runtime::{ContainerState, Runtime};

const CHUNK: usize = 64 * 1024;

/// Whose log it is, to know when it ends.
pub(crate) struct Source {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) pod_uid: String,
    pub(crate) container_id: String,
}

impl Source {
    async fn is_running(&self) -> bool {
        let Ok((_, containers)) = self.runtime.pod(&self.pod_uid).await else { return false };
        containers.iter().any(|container| container.id == self.container_id && !matches!(container.state, ContainerState::Exited { .. }))
    }
}

/// The log as a stream; it ends with the file or, when it is followed, with the container.
pub(crate) fn stream(opened: Opened, source: Source) -> BoxStream<'static, Piece> {
    let (pieces, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        let closed = pieces.clone();
        let read = Reader { pieces, filter: Filter::new(&opened.options), pending: Vec::new() }.run(opened, source);
        tokio::select! {
            result = read => {
                if let Err(error) = result {
                    let _ = closed.send(Err(error)).await;
                }
            }
            // The reader went away: nobody waits for the next line.
            () = closed.closed() => {}
        }
    });
    Box::pin(futures::stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|piece| (piece, receiver)) }))
}

struct Reader {
    pieces: mpsc::Sender<Piece>,
    filter: Filter,
    /// The beginning of a line whose end is not written yet.
    pending: Vec<u8>,
}

impl Reader {
    async fn run(mut self, opened: Opened, source: Source) -> std::io::Result<()> {
        let mut file = File::open(&opened.path).await?;
        // Watched before it is read: what is written in between is seen.
        let watch = if opened.options.follow { Some(Watch::new(&opened.path)?) } else { None };
        let mut events = source.runtime.events();
        if let Some(lines) = opened.options.tail_lines {
            let offset = tail_offset(&mut file, lines).await?;
            file.seek(SeekFrom::Start(offset)).await?;
        }
        if !self.drain(&mut file).await? {
            return Ok(());
        }
        let Some(mut watch) = watch else { return Ok(()) };
        loop {
            let running = source.is_running().await;
            if !self.drain(&mut file).await? {
                return Ok(());
            }
            if let Some(next) = rotated(&file, &opened.path).await {
                file = next;
                self.pending.clear();
                continue;
            }
            if !running {
                return Ok(());
            }
            tokio::select! {
                changed = watch.changed() => changed?,
                _ = events.recv() => {}
            }
        }
    }

    /// Sends what is there; `false`: the reader has had enough, or is gone.
    async fn drain(&mut self, file: &mut File) -> std::io::Result<bool> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = file.read(&mut chunk).await?;
            if count == 0 {
                return Ok(true);
            }
            self.pending.extend_from_slice(&chunk[..count]);
            let mut out = Vec::new();
            let mut rest = 0;
            let mut more = true;
            while let Some(end) = self.pending[rest..].iter().position(|&byte| byte == b'\n').filter(|_| more) {
                more = self.filter.push(&self.pending[rest..rest + end], &mut out);
                rest += end + 1;
            }
            self.pending.drain(..rest);
            if !out.is_empty() && self.pieces.send(Ok(Bytes::from(out))).await.is_err() {
                return Ok(false);
            }
            if !more {
                return Ok(false);
            }
        }
    }
}

/// The new file, when the path names another one than `file`.
async fn rotated(file: &File, path: &Path) -> Option<File> {
    let old = file.metadata().await.ok()?;
    let new = tokio::fs::metadata(path).await.ok()?;
    if (old.dev(), old.ino()) == (new.dev(), new.ino()) {
        return None;
    }
    File::open(path).await.ok()
}

/// Tells when something happens in the directory of a log: a queue of changes, read as the stream of bytes that it is.
struct Watch(Receiver);

impl Watch {
    fn new(path: &Path) -> std::io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        inotify.add_watch(path.parent().unwrap_or(path), flags)?;
        Receiver::from_owned_fd_unchecked(inotify.into()).map(Self)
    }

    async fn changed(&mut self) -> std::io::Result<()> {
        let mut events = [0; 4096];
        self.0.read(&mut events).await.map(drop)
    }
}
