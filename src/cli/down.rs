//! `coracle down`: stop the running cluster, its pods too; or what is left of one that ended by itself.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::arguments::Global;
use super::failure::Failure;
use super::{control, home};

/// A stop gives pods ten seconds; this is more than that.
const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) async fn run(global: &Global) -> Result<ExitCode, Failure> {
    let directory = home::data_directory(global)?;
    if directory.holder().is_none() {
        println!("no cluster is running on {}", directory.path().display());
        if coracle_cluster::remove_leftovers(&directory).await.map_err(Failure::of)? {
            println!("what one left that ended by itself is removed");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let client = control::running(global).await?;
    control::call(&client, "POST", "/down", Vec::new()).await?;
    let begun = Instant::now();
    while directory.holder().is_some() {
        if begun.elapsed() > PATIENCE {
            return Err(Failure::plain("the cluster is still stopping").hint("`coracle status` tells when it is down"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("stopped in {:.1}s", begun.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}
