//! The log: a file in the data directory, and for `--verbose` standard error too.

use coracle_cluster::DataDirectory;
use tracing_appender::non_blocking::NonBlockingBuilder;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use super::failure::Failure;

/// Environment variable with the filter, as `info,coracle_node=debug`.
const FILTER: &str = "CORACLE_LOG";

/// Lines that wait to be written at most; what comes beyond is lost. Each takes memory from the start on.
const LINES: usize = 8_192;

/// Keeps the log's writer going; what is buffered is written when it is dropped.
pub(crate) struct Log(#[expect(dead_code, reason = "kept for its drop")] tracing_appender::non_blocking::WorkerGuard);

/// Starts logging to `logs/coracle.log`, one file a day, seven of them.
pub(crate) fn start(directory: &DataDirectory, to_terminal: bool) -> Result<Log, Failure> {
    directory.create()?;
    std::fs::create_dir_all(directory.logs())
        .map_err(|error| Failure::new(format!("cannot log to {}", directory.logs().display()), error))?;
    let files = tracing_appender::rolling::Builder::new()
        .rotation(tracing_appender::rolling::Rotation::DAILY)
        .filename_prefix("coracle.log")
        .max_log_files(7)
        .build(directory.logs())
        .map_err(|error| Failure::new(format!("cannot log to {}", directory.logs().display()), error))?;
    let (writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(LINES).finish(files);
    let filter = || {
        EnvFilter::try_from_env(FILTER)
            .unwrap_or_else(|_| EnvFilter::new("info,kube_client=warn,hyper=warn,libcontainer=warn,hickory_server=warn"))
    };
    // what a full disk does not take is lost: it is not told on standard error, which may be on the same disk
    let file = fmt::layer().with_writer(writer).with_ansi(false).log_internal_errors(false).with_filter(filter());
    let terminal = to_terminal.then(|| fmt::layer().with_writer(std::io::stderr).log_internal_errors(false).with_filter(filter()));
    // a second call in one process keeps the first's log
    let _ = tracing_subscriber::registry().with(file).with(terminal).try_init();
    Ok(Log(guard))
}
