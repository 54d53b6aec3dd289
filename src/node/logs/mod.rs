//! Containers' logs, as the runtime writes them: `<time> stdout|stderr F|P <text>` lines in a file per instance.

mod follow;
mod line;
mod scripted;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use coracle_api::seams::LogOptions;
use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};

pub(crate) use self::follow::{Source, stream};
pub(crate) use self::scripted::stream as scripted_stream;

/// Turns lines of the file into what the reader asked for.
pub(crate) struct Filter {
    timestamps: bool,
    since: Option<jiff::Timestamp>,
    stream: Option<String>,
    left: Option<u64>,
    at_line_start: bool,
}

impl Filter {
    pub(crate) fn new(options: &LogOptions) -> Self {
        Self {
            timestamps: options.timestamps,
            since: options.since,
            stream: options.stream.as_deref().filter(|stream| !stream.eq_ignore_ascii_case("all")).map(str::to_lowercase),
            left: options.limit_bytes,
            at_line_start: true,
        }
    }

    /// Adds the text of one line of the file to `out`; `false`: the reader has had all it wants.
    pub(crate) fn push(&mut self, raw: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(line) = line::parse(raw) else { return true };
        let older = self.since.is_some_and(|since| line.time().is_some_and(|time| time < since));
        if older || self.stream.as_deref().is_some_and(|stream| stream != line.stream) {
            return true;
        }
        let begun = out.len();
        if self.timestamps && self.at_line_start {
            out.extend_from_slice(line.stamp.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(line.text);
        if !line.partial {
            out.push(b'\n');
        }
        self.at_line_start = !line.partial;
        let Some(left) = &mut self.left else { return true };
        let added = u64::try_from(out.len() - begun).unwrap_or(u64::MAX);
        if added >= *left {
            out.truncate(begun + usize::try_from(*left).unwrap_or(0));
            *left = 0;
            return false;
        }
        *left -= added;
        true
    }
}

/// Where the last `lines` lines of a file begin.
async fn tail_offset(file: &mut tokio::fs::File, lines: u64) -> std::io::Result<u64> {
    const BLOCK: u64 = 64 * 1024;
    let end = file.seek(SeekFrom::End(0)).await?;
    if lines == 0 {
        return Ok(end);
    }
    let (mut at, mut found) = (end, 0u64);
    let mut block = Vec::new();
    while at > 0 {
        let size = at.min(BLOCK);
        at -= size;
        file.seek(SeekFrom::Start(at)).await?;
        block.resize(usize::try_from(size).unwrap_or(0), 0);
        file.read_exact(&mut block).await?;
        for (index, byte) in block.iter().enumerate().rev() {
            let position = at + u64::try_from(index).unwrap_or(0);
            // The newline that ends the last line is no beginning.
            if *byte == b'\n' && position + 1 < end {
                found += 1;
                if found == lines {
                    return Ok(position + 1);
                }
            }
        }
    }
    Ok(0)
}

/// The end of a log as text, for a termination message.
pub(crate) async fn last_lines(path: &Path, lines: usize, bytes: u64) -> String {
    let read = async {
        let mut file = tokio::fs::File::open(path).await?;
        let offset = tail_offset(&mut file, u64::try_from(lines).unwrap_or(u64::MAX)).await?;
        file.seek(SeekFrom::Start(offset)).await?;
        let mut raw = Vec::new();
        file.read_to_end(&mut raw).await?;
        Ok::<_, std::io::Error>(raw)
    };
    let Ok(raw) = read.await else { return String::new() };
    let mut filter = Filter::new(&LogOptions::default());
    let mut out = Vec::new();
    raw.split(|&byte| byte == b'\n').all(|line| filter.push(line, &mut out));
    let from = out.len().saturating_sub(usize::try_from(bytes).unwrap_or(usize::MAX));
    String::from_utf8_lossy(&out[from..]).into_owned()
}

/// Which file to read, and whether more may come.
pub(crate) struct Opened {
    pub(crate) path: PathBuf,
    pub(crate) options: LogOptions,
}

/// A piece of an answer.
pub(crate) type Piece = std::io::Result<Bytes>;

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
