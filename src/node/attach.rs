//! Sessions that end with their input: a client that has no more to say leaves, and the container goes on.

use std::time::Duration;

use coracle_api::seams::Session;
use futures::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, duplex};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Output in answer to the last input comes within so long of it, or of more output, through an engine on a busy machine too …
const QUIET: Duration = Duration::from_secs(1);
/// … but who goes on writing is not listened to for more than so many pieces.
const MOST_PIECES: usize = 64;
const BUFFER: usize = 16 << 10;

type Output = Box<dyn AsyncRead + Send + Unpin>;

/// Hands output on until it ends, or until it is quiet after the end of the input.
fn pump(output: Option<Output>, ended: &CancellationToken) -> (Option<Output>, Option<JoinHandle<()>>) {
    let Some(mut output) = output else { return (None, None) };
    let (reader, mut writer) = duplex(BUFFER);
    let ended = ended.clone();
    let task = tokio::spawn(async move {
        let mut buffer = vec![0; BUFFER];
        let mut pieces = 0;
        while pieces < MOST_PIECES {
            let quiet = async {
                ended.cancelled().await;
                tokio::time::sleep(QUIET).await;
            };
            let count = tokio::select! {
                count = output.read(&mut buffer) => count.unwrap_or(0),
                () = quiet => 0,
            };
            if count == 0 || writer.write_all(buffer.get(..count).unwrap_or_default()).await.is_err() {
                break;
            }
            pieces += usize::from(ended.is_cancelled());
        }
    });
    (Some(Box::new(reader)), Some(task))
}

/// The same session, which ends when its input does.
pub(crate) fn ends_with_input(mut session: Session) -> Session {
    let Some(mut stdin) = session.stdin.take() else { return session };
    let ended = CancellationToken::new();
    let (writer, mut reader) = duplex(BUFFER);
    let input = ended.clone();
    tokio::spawn(async move {
        let _ = tokio::io::copy(&mut reader, &mut stdin).await;
        input.cancel();
    });
    let (stdout, first) = pump(session.stdout.take(), &ended);
    let (stderr, second) = pump(session.stderr.take(), &ended);
    let exit = session.exit;
    let left = async move {
        ended.cancelled().await;
        futures::future::join_all(first.into_iter().chain(second)).await;
    };
    let exit = async move {
        tokio::select! {
            code = exit => code,
            () = left => Ok(0),
        }
    };
    Session { stdin: Some(Box::new(writer)), stdout, stderr, resize: session.resize, exit: exit.boxed() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_answer_to_the_last_input_still_comes() {
        let (stdin, mut heard) = duplex(64);
        let (mut says, stdout) = duplex(64);
        let session = Session {
            stdin: Some(Box::new(stdin)),
            stdout: Some(Box::new(stdout)),
            stderr: None,
            resize: None,
            exit: std::future::pending().boxed(),
        };
        let mut session = ends_with_input(session);
        let mut input = session.stdin.take().unwrap();
        input.write_all(b"one\n").await.unwrap();
        drop(input);
        let mut line = [0; 4];
        heard.read_exact(&mut line).await.unwrap();
        says.write_all(&line).await.unwrap();
        let mut said = String::new();
        session.stdout.unwrap().read_to_string(&mut said).await.unwrap();
        assert_eq!((said.as_str(), session.exit.await.unwrap()), ("one\n", 0));
    }
}
