//! Containers' logs: the engine keeps them in its own form; a follower of each container writes them down as the agent
//! reads them. After a restart it goes on behind the last entry of the file.
//!
//! Every entry has the time that the engine gave it, so what is already in the file is recognised.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker as Client;
use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures::StreamExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::is_missing;
use crate::shim::log::{Log, PART};

/// How much of the end of a file is looked at for its last entries.
const TAIL: u64 = 64 << 10;
/// Between two attempts to reach the engine.
const PAUSE: Duration = Duration::from_millis(500);

/// A container's follower.
#[derive(Debug, Clone)]
pub(super) struct Follower {
    log: Arc<Mutex<Option<Log>>>,
    done: watch::Receiver<bool>,
    stop: CancellationToken,
}

/// Up to where the file has been written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Position {
    /// Time of the last entry, as the engine wrote it.
    stamp: String,
    /// How many entries have this time.
    count: usize,
}

impl Follower {
    /// Starts to follow.
    pub(super) fn start(client: Client, id: String, path: PathBuf, tty: bool, stop: CancellationToken) -> Self {
        let (finished, done) = watch::channel(false);
        let log = Arc::new(Mutex::new(None));
        let follower = Self { log: log.clone(), done, stop: stop.clone() };
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = follow(&client, &id, &path, tty, &log) => {}
            }
            finished.send_replace(true);
        });
        follower
    }

    /// Waits until everything that an ended container wrote is in the file, at most so long.
    pub(super) async fn finished(&self, at_most: Duration) {
        let mut done = self.done.clone();
        let _ = tokio::time::timeout(at_most, done.wait_for(|done| *done)).await;
    }

    /// Whether it is at its end.
    pub(super) fn is_done(&self) -> bool {
        *self.done.borrow()
    }

    /// Goes on in a new file.
    pub(super) fn reopen(&self) -> io::Result<()> {
        self.log.lock().as_mut().map_or(Ok(()), Log::reopen)
    }

    pub(super) fn stop(&self) {
        self.stop.cancel();
    }
}

async fn follow(client: &Client, id: &str, path: &Path, tty: bool, log: &Mutex<Option<Log>>) {
    let mut position = match resume(path).and_then(|position| Log::open(path).map(|opened| (position, opened))) {
        Ok((position, opened)) => {
            *log.lock() = Some(opened);
            position
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a container's log cannot be written");
            return;
        }
    };
    loop {
        let whole = read(client, id, tty, true, log, &mut position).await;
        // The end of the stream is the end of the log only when the container has ended.
        match client.inspect_container(id, None).await {
            Ok(found) if whole && found.state.as_ref().and_then(|state| state.running) != Some(true) => {
                // an engine may end what it follows before the last line
                read(client, id, tty, false, log, &mut position).await;
                return;
            }
            Err(error) if is_missing(&error) => return,
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Writes what is there after `position`, with `follow` also what comes; says whether the stream came to its end.
async fn read(client: &Client, id: &str, tty: bool, follow: bool, log: &Mutex<Option<Log>>, position: &mut Position) -> bool {
    let since = position.stamp.parse::<Timestamp>().ok().and_then(|time| i32::try_from(time.as_second()).ok());
    let options = LogsOptionsBuilder::new().follow(follow).stdout(true).stderr(true).timestamps(true).since(since.unwrap_or(0)).build();
    let mut frames = client.logs(id, Some(options)).ready_chunks(64);
    let mut known = Position { count: 0, ..position.clone() };
    while let Some(frames) = frames.next().await {
        let mut entries = Vec::new();
        for frame in frames {
            let (stream, message) = match frame {
                Ok(LogOutput::StdErr { message }) => ("stderr", message),
                Ok(LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message }) => ("stdout", message),
                Err(error) => {
                    tracing::debug!(id, %error, "the log of a container breaks off");
                    return false;
                }
            };
            for (stamp, text) in pieces(&message, tty) {
                if is_known(stamp, position, &mut known) {
                    continue;
                }
                entry(&mut entries, stamp, stream, text);
            }
        }
        if let Some(log) = log.lock().as_mut()
            && !entries.is_empty()
        {
            log.write(&entries);
        }
    }
    true
}

/// Whether an entry of this time is in the file; takes note of it if not.
fn is_known(stamp: &str, position: &mut Position, seen: &mut Position) -> bool {
    if stamp < position.stamp.as_str() {
        return true;
    }
    if stamp == position.stamp {
        seen.count += 1;
        if seen.stamp == stamp && seen.count <= position.count {
            return true;
        }
        position.count = position.count.max(seen.count);
        return false;
    }
    *position = Position { stamp: stamp.to_owned(), count: 1 };
    *seen = position.clone();
    false
}

/// Cuts a message into its time and text. With a terminal the parts of a long line follow each other unframed.
fn pieces(message: &[u8], tty: bool) -> Vec<(&str, &[u8])> {
    let mut found = Vec::new();
    let mut rest = message;
    while let Some((stamp, text)) = stamped(rest) {
        let cut = if tty && text.get(PART..).and_then(stamped).is_some() { PART } else { text.len() };
        let (text, after) = text.split_at(cut);
        found.push((stamp, text));
        rest = after;
    }
    found
}

fn stamped(message: &[u8]) -> Option<(&str, &[u8])> {
    let end = message.iter().take(64).position(|byte| *byte == b' ')?;
    let stamp = std::str::from_utf8(message.get(..end)?).ok()?;
    stamp.parse::<Timestamp>().ok()?;
    Some((stamp, message.get(end + 1..)?))
}

fn entry(entries: &mut Vec<u8>, stamp: &str, stream: &str, text: &[u8]) {
    // The engine cuts lines only when they are this long: less without an end is the end of the stream.
    let (text, tag) = match text.split_last() {
        Some((b'\n', text)) => (text, 'F'),
        _ if text.len() < PART => (text, 'F'),
        _ => (text, 'P'),
    };
    let _ = write!(entries, "{stamp} {stream} {tag} ");
    entries.extend_from_slice(text);
    entries.push(b'\n');
}

/// Where to go on: behind the last whole entry. What a crash left of another is cut off.
fn resume(path: &Path) -> io::Result<Position> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    let position = last_entries(&mut file, true)?;
    if position.count > 0 {
        return Ok(position);
    }
    // Nothing since the file was renamed: the newest of the older ones tells.
    let Some(older) = newest_older(path) else { return Ok(position) };
    let mut found = last_entries(&mut File::open(&older)?, false)?;
    if found.count == 0 {
        let modified = fs::metadata(&older)?.modified()?;
        found.stamp = format!("{:.9}", Timestamp::try_from(modified).unwrap_or_default());
    }
    Ok(found)
}

fn newest_older(path: &Path) -> Option<PathBuf> {
    let prefix = format!("{}.", path.file_name()?.to_string_lossy());
    let mut found: Vec<PathBuf> = fs::read_dir(path.parent()?)
        .ok()?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found.pop()
}

fn last_entries(file: &mut File, repair: bool) -> io::Result<Position> {
    let length = file.seek(SeekFrom::End(0))?;
    let start = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if repair && whole < tail.len() {
        file.set_len(start + whole as u64)?;
    }
    let mut position = Position::default();
    for line in tail.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n').rev() {
        let Some((stamp, _)) = stamped(line) else { continue };
        if position.count > 0 && position.stamp != stamp {
            break;
        }
        position = Position { stamp: stamp.to_owned(), count: position.count + 1 };
    }
    Ok(position)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const A: &str = "2026-01-02T03:04:05.000000001Z";
    const B: &str = "2026-01-02T03:04:05.000000002Z";

    #[test]
    fn it_goes_on_behind_the_last_whole_entry() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c/0.log");
        assert_eq!(resume(&path).unwrap(), Position::default());
        fs::write(&path, format!("{A} stdout F one\n{B} stdout P two\n{B} stdout F three\n{B} std")).unwrap();
        assert_eq!(resume(&path).unwrap(), Position { stamp: B.to_owned(), count: 2 });
        assert!(fs::read_to_string(&path).unwrap().ends_with("three\n"));
        fs::rename(&path, directory.path().join("c/0.log.20260102-030405")).unwrap();
        assert_eq!(resume(&path).unwrap(), Position { stamp: B.to_owned(), count: 2 });
    }

    #[test]
    fn entries_that_are_there_are_not_written_again() {
        let mut position = Position { stamp: A.to_owned(), count: 2 };
        let mut seen = Position { count: 0, ..position.clone() };
        let stamps = ["2026-01-02T03:04:04.999999999Z", A, A, A, B, B];
        let known: Vec<bool> = stamps.iter().map(|stamp| is_known(stamp, &mut position, &mut seen)).collect();
        assert_eq!(known, [true, true, true, false, false, false]);
        assert_eq!(position, Position { stamp: B.to_owned(), count: 2 });
    }

    #[test]
    fn messages_become_entries() {
        let mut entries = Vec::new();
        let long = format!("{A} {}{B} end\r\n", "x".repeat(PART));
        for (message, tty) in [(format!("{A} hello\n"), false), (format!("{A} end"), false), (long, true)] {
            pieces(message.as_bytes(), tty).into_iter().for_each(|(stamp, text)| entry(&mut entries, stamp, "stdout", text));
        }
        let expected = format!("{A} stdout F hello\n{A} stdout F end\n{A} stdout P {}\n{B} stdout F end\r\n", "x".repeat(PART));
        assert_eq!(String::from_utf8(entries).unwrap(), expected);
        assert!(pieces(b"no time", false).is_empty());
    }
}
