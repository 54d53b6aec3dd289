//! What the start took and a running cluster does not need is given back.

use std::time::Duration;
use std::{fs, io};

/// How long after its start a cluster has settled.
const SETTLED: Duration = Duration::from_secs(5);

/// Lets go of the program's code once the cluster has settled: most of what is mapped by then only ran to start it.
pub(crate) async fn give_back() {
    tokio::time::sleep(SETTLED).await;
    match tokio::task::spawn_blocking(drop_code).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the code of the start stays mapped"),
        Err(error) => tracing::debug!(%error, "the code of the start stays mapped"),
    }
}

/// Unmaps the pages of the program's own code; each is mapped again, from the kernel's cache of the file, when it runs.
fn drop_code() -> io::Result<()> {
    let program = fs::read_link("/proc/self/exe")?;
    let program = program.to_string_lossy();
    let maps = fs::read_to_string("/proc/self/maps")?;
    for (start, length) in maps.lines().filter_map(|line| code(line, &program)) {
        // SAFETY: private pages of a file, which nobody can write to: read again, they hold the same bytes
        if unsafe { libc::madvise(std::ptr::without_provenance_mut(start), length, libc::MADV_DONTNEED) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Start and length of a mapping in a line of `/proc/PID/maps`, if it is code of `program`.
fn code(line: &str, program: &str) -> Option<(usize, usize)> {
    let (range, rest) = line.split_once(' ')?;
    let rest = rest.strip_prefix("r-xp ")?;
    rest.ends_with(program).then_some(())?;
    let (start, end) = range.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    let (start, end) = (number(start)?, number(end)?);
    Some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn only_code_of_the_program_goes() {
        let table = [
            ("1000-3000 r-xp 00001000 fe:00 7                    /usr/bin/coracle", Some((0x1000, 0x2000))),
            ("1000-3000 r--p 00001000 fe:00 7                    /usr/bin/coracle", None),
            ("1000-3000 rw-p 00001000 fe:00 7                    /usr/bin/coracle", None),
            ("1000-3000 r-xp 00000000 fe:00 9                    /usr/lib/libc.so.6", None),
            ("1000-3000 r-xp 00000000 00:00 0                    [vdso]", None),
        ];
        for (line, expected) in table {
            assert_eq!(code(line, "/usr/bin/coracle"), expected, "{line}");
        }
    }

    #[test]
    fn a_program_goes_on_without_its_pages() {
        drop_code().unwrap();
        assert!(fs::read_to_string("/proc/self/maps").unwrap().contains("r-xp"));
    }
}
