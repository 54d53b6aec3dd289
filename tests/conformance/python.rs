//! The client library for Python.

use std::path::Path;
use std::time::Duration;

use super::harness::Need;
use super::harness::need::python;
use super::harness::run::run;
use super::here::row;

#[test]
fn programs_in_python() {
    row("python", &[Need::Native, Need::Python], async |here| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/client.py");
        let mut command = here.command(&python().to_string_lossy());
        command.arg(script).arg(&here.namespace).arg("coracle.local/kubia:1.0");
        run(&mut command, b"", Duration::from_secs(300)).ok();
    });
}
