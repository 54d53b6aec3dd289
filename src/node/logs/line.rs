//! One line of a log file.

/// A line, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) stamp: &'a str,
    pub(super) stream: &'a str,
    /// The next line of the file goes on with the same line of output.
    pub(super) partial: bool,
    pub(super) text: &'a [u8],
}

impl Line<'_> {
    pub(super) fn time(&self) -> Option<jiff::Timestamp> {
        self.stamp.parse().ok()
    }
}

/// Takes a line apart; `None` for one that is none (half written, or empty).
pub(super) fn parse(raw: &[u8]) -> Option<Line<'_>> {
    let mut parts = raw.splitn(4, |&byte| byte == b' ');
    let stamp = std::str::from_utf8(parts.next()?).ok()?;
    let stream = std::str::from_utf8(parts.next()?).ok()?;
    let tags = parts.next()?;
    let text = parts.next().unwrap_or_default();
    if !matches!(stream, "stdout" | "stderr") {
        return None;
    }
    let partial = tags.split(|&byte| byte == b':').next() == Some(b"P");
    Some(Line { stamp, stream, partial, text })
}
