//! The image of sandboxes: one static program that ignores the end of its children, so that the kernel reaps them, and
//! sleeps. It is put together here, so that a sandbox needs no registry.

use crate::runtime::RuntimeError;

/// Name of the image.
pub(super) const PAUSE: &str = "coracle.local/pause:1";

/// Where the program is loaded.
const BASE: u64 = 0x40_0000;
/// ELF header and one program header.
const HEADERS: u64 = 64 + 56;

/// Calls of both kernels' `struct sigaction`: handler `SIG_IGN`, no flags, no restorer, empty mask.
const IGNORE: [u64; 4] = [1, 0, 0, 0];

fn amd64() -> Vec<u8> {
    let mut code = vec![
        0xb8, 13, 0, 0, 0, // mov eax, rt_sigaction
        0xbf, 17, 0, 0, 0, // mov edi, SIGCHLD
        0x48, 0x8d, 0x35, 23, 0, 0, 0, // lea rsi, [rip + 23]: what follows the code
        0x31, 0xd2, // xor edx, edx
        0x41, 0xba, 8, 0, 0, 0, // mov r10d, 8: size of the mask
        0x0f, 0x05, // syscall
        0xb8, 34, 0, 0, 0, // mov eax, pause
        0x0f, 0x05, // syscall
        0xeb, 0xf7, // jmp to the mov before
        0, 0, 0, 0,
    ];
    code.extend(IGNORE.iter().flat_map(|word| word.to_le_bytes()));
    code
}

fn arm64() -> Vec<u8> {
    let set = |register: u32, value: u32| 0xd280_0000 | value << 5 | register; // movz x<register>, #value
    let supervisor = 0xd400_0001; // svc #0
    let mut code = vec![
        0,           // adr x1, to what follows the code; below
        set(0, 17),  // SIGCHLD
        set(2, 0),   // no old action
        set(3, 8),   // size of the mask
        set(8, 134), // rt_sigaction
        supervisor,
        set(0, 0), // no descriptors
        set(1, 0),
        set(2, 0),  // no time
        set(3, 0),  // no mask
        set(8, 73), // ppoll
        supervisor,
        0x1400_0000 | (0x03ff_ffff - 5), // b, six instructions back
        0xd503_201f,                     // nop
    ];
    let distance = 4 * code.len() as u32;
    if let Some(first) = code.first_mut() {
        *first = 0x1000_0000 | (distance & 3) << 29 | (distance >> 2) << 5 | 1;
    }
    let mut bytes: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.extend(IGNORE.iter().flat_map(|word| word.to_le_bytes()));
    bytes
}

/// An executable of this code alone.
fn executable(machine: u16, code: &[u8]) -> Vec<u8> {
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]; // 64 bits, little-endian
    let half = |file: &mut Vec<u8>, value: u16| file.extend(value.to_le_bytes());
    let word = |file: &mut Vec<u8>, value: u32| file.extend(value.to_le_bytes());
    let long = |file: &mut Vec<u8>, value: u64| file.extend(value.to_le_bytes());
    half(&mut file, 2); // an executable
    half(&mut file, machine);
    word(&mut file, 1);
    long(&mut file, BASE + HEADERS); // where it begins
    long(&mut file, 64); // the program header follows
    long(&mut file, 0); // no sections
    word(&mut file, 0);
    [64, 56, 1, 0, 0, 0].into_iter().for_each(|value| half(&mut file, value)); // sizes and numbers of headers
    let size = HEADERS + code.len() as u64;
    word(&mut file, 1); // to be loaded
    word(&mut file, 5); // readable and executable
    [0, BASE, BASE, size, size, 0x1000].into_iter().for_each(|value| long(&mut file, value));
    file.extend(code);
    file
}

fn program(arch: &str) -> Option<Vec<u8>> {
    match arch {
        "amd64" | "x86_64" => Some(executable(62, &amd64())),
        "arm64" | "aarch64" => Some(executable(183, &arm64())),
        _ => None,
    }
}

/// The image's only layer, as a tar.
pub(super) fn layer(arch: &str) -> Result<Vec<u8>, RuntimeError> {
    let unknown = || RuntimeError::Engine { message: format!("there is no pause program for the engine's architecture {arch}") };
    let program = program(arch).ok_or_else(unknown)?;
    let mut header = tar::Header::new_ustar();
    header.set_size(program.len() as u64);
    header.set_mode(0o755);
    let mut write = || {
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_data(&mut header, "pause", program.as_slice())?;
        archive.into_inner()
    };
    write().map_err(|source| RuntimeError::Io { step: "make the image of sandboxes".to_owned(), source })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn jumps_and_addresses_fit_the_code() {
        let code = amd64();
        // The action begins 23 bytes after the instruction that names it, aligned.
        assert_eq!((code.len(), 17 + 23), (40 + 32, 40));
        assert_eq!(&code[27..29], &[0xb8, 34]);
        assert_eq!(36 - (256 - 0xf7), 27);
        let code = arm64();
        let word = |at: usize| u32::from_le_bytes(code[4 * at..4 * at + 4].try_into().unwrap());
        assert_eq!(code.len(), 14 * 4 + 32);
        assert_eq!((word(0) >> 5) & 0x7_ffff, 14);
        assert_eq!(word(12) & 0x03ff_ffff, 0x0400_0000 - 6);
    }

    #[test]
    fn it_runs_and_sleeps() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pause");
        let Some(bytes) = program(std::env::consts::ARCH) else { return };
        assert!(bytes.len() < 400);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut child = std::process::Command::new(&path).spawn().unwrap();
        let status = || std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        // It ignores SIGCHLD (17) when it has got so far.
        let ignores = || {
            status()
                .lines()
                .find_map(|line| line.strip_prefix("SigIgn:\t").map(|bits| u64::from_str_radix(bits, 16).unwrap() & 1 << 16 != 0))
                .unwrap()
        };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while !ignores() {
            assert!(std::time::Instant::now() < deadline, "{}", status());
            std::thread::yield_now();
        }
        child.kill().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(9));
    }
}
