//! The image that Coracle brings along: the demo web server of the tutorials, made from our own executable, with a
//! shell and small tools of the host where it has them.

use std::path::{Path, PathBuf};

use super::reference::Reference;
use super::store::{Config, ImageRecord, Store};
use super::{Extra, ImageError, build};

/// Repository of the image.
pub const KUBIA: &str = "coracle.local/kubia";

const TOOLS: [&str; 50] = [
    "sh", "bash", "ls", "cat", "ps", "env", "printenv", "sleep", "wget", "curl", "stty", "hostname", "id", "whoami", "uname", "grep",
    "sed", "tail", "head", "wc", "sort", "cut", "tr", "tee", "seq", "mkdir", "rm", "touch", "cp", "mv", "ln", "stat", "df", "du", "tar",
    "gzip", "kill", "true", "false", "echo", "date", "test", "expr", "ip", "nslookup", "nproc", "readlink", "chmod", "dd", "find",
];

/// Where the executable is inside.
const PROGRAM: &str = "/usr/local/bin/coracle";

/// Whether a name is one of this image's.
pub fn is_kubia(name: &str) -> bool {
    Reference::parse(name).is_ok_and(|reference| reference.repository() == KUBIA)
}

/// Makes the image, or finds that it is made. `program` is an executable that runs `demo::main` when given `arguments`.
pub fn build_kubia(store: &Store, program: &Path, arguments: &[String]) -> Result<Vec<ImageRecord>, ImageError> {
    let directories = ["/bin", "/usr/bin", "/sbin", "/usr/sbin"];
    let find = |name: &str| directories.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists());
    let tools: Vec<PathBuf> = TOOLS.iter().filter_map(|name| find(name)).collect();
    let program = program.canonicalize().unwrap_or_else(|_| program.to_owned());
    let extra = [Extra { source: program, destination: PROGRAM.into() }];
    let config = |more: &[&str]| {
        let words = std::iter::once(PROGRAM).chain(arguments.iter().map(String::as_str)).chain(more.iter().copied());
        Config { entrypoint: words.map(str::to_owned).collect(), working_dir: "/".to_owned(), ..Config::default() }
    };
    let named = |tags: &[&str]| tags.iter().map(|tag| format!("{KUBIA}:{tag}")).collect::<Vec<_>>();
    let variants = [
        (named(&["1.0", "latest"]), config(&[])),
        (named(&["1.0-stdin"]), config(&["--stdin"])),
        (named(&["1.1"]), config(&["--handle-sigterm"])),
    ];
    build(store, &tools, &extra, &variants)
}
