//! The same requests where there are more and more objects: what one costs is to stay, what is held to grow with what there is.

use std::time::{Duration, Instant};

use crate::Failure;
use crate::connection::Connection;
use crate::process::Server;
use crate::report::median;
use crate::requests::{Awake, config_maps, create, latency, path, serial};

/// How many ConfigMaps of 1 KiB there are.
const SIZES: [usize; 3] = [1_000, 10_000, 100_000];
const NAMESPACE: &str = "load-growth";
const SERIAL: usize = 500;
const TOGETHER: usize = 5_000;
const OBSERVED: usize = 1_000;
const READS: usize = 1_000;
const PAGES: usize = 50;
/// After this time what was only needed to make objects is given back.
const SETTLE: Duration = Duration::from_secs(10);

/// Measures, and gives a table.
pub async fn measure() -> Result<String, Failure> {
    let server = Server::start(1).await?;
    server.node_ready().await?;
    server.target.make_namespace(NAMESPACE).await?;
    let connection = server.target.connect(NAMESPACE).await?;
    tokio::time::sleep(SETTLE).await;
    let empty = server.memory()?;
    let mut out = "| objects | create ms | 32 in flight, per s | create → event ms | get ms | page of 500 ms | KB for each |\n\
                   |---:|---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    let mut there = 0;
    for size in SIZES {
        create(&connection, &path(NAMESPACE), config_maps(&format!("of-{size}"), size - there), 32).await?;
        there = size;
        tokio::time::sleep(SETTLE).await;
        let each = (server.memory()? - empty) * 1e3 / size as f64;
        // beside them, and gone afterwards
        let beside = format!("{NAMESPACE}-{size}");
        server.target.make_namespace(&beside).await?;
        let maps = path(&beside);
        let one = serial(&connection, &maps, SERIAL).await?;
        let bodies = config_maps("together", TOGETHER);
        let begun = Instant::now();
        create(&connection, &maps, bodies, 32).await?;
        let rate = TOGETHER as f64 / begun.elapsed().as_secs_f64();
        let event = latency(&connection, &maps, OBSERVED).await?;
        let get = reads(&connection, &format!("{}/of-1000-500", path(NAMESPACE)), READS).await?;
        let page = reads(&connection, &format!("{}?limit=500", path(NAMESPACE)), PAGES).await?;
        out.push_str(&format!("| {size} | {one:.2} | {rate:.0} | {event:.2} | {get:.3} | {page:.1} | {each:.1} |\n"));
        server.target.remove_namespace(&beside).await?;
    }
    server.stop().await?;
    Ok(out)
}

/// Milliseconds of a read, one after the other, the median.
async fn reads(connection: &Connection, path: &str, count: usize) -> Result<f64, Failure> {
    let _awake = Awake::new();
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        connection.get(path).await?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(&mut took))
}
