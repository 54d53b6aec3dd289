//! The way through a service beside the direct way to its pod: in the kernel, in user space. As root, in a network of its own.
//! `CORACLE_BENCH_SERVICES=1000` puts so many other services of ten endpoints each beside the one that is looked at.

use std::process::Stdio;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use nix::sched::{CloneFlags, unshare};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::Failure;
use crate::target::{Target, object};

const REQUESTS: usize = 2_000;
const CHANGES: usize = 50;
/// Endpoints of each of the other services.
const ENDPOINTS: usize = 10;
/// Bytes of one request that is echoed.
const LOAD: usize = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures, and gives a table.
pub fn measure() -> Result<String, Failure> {
    if !nix::unistd::geteuid().is_root() {
        return Ok("services: skipped, needs root\n".to_owned());
    }
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut out =
                "| way | request p50 | p99 | per s | MB/s echoed | endpoint → effect p50 | most |\n|---|---:|---:|---:|---:|---:|---:|\n"
                    .to_owned();
            for (name, nft) in [("kernel", "on"), ("user space", "off")] {
                out.push_str(&ways(name, nft).await?);
            }
            Ok::<_, Failure>(out)
        })
    });
    thread.join().map_err(|_| "the measurement panicked")?
}

async fn ways(name: &str, nft: &str) -> Result<String, Failure> {
    let directory = TempDir::new()?;
    let data = directory.path().join("data");
    let program = |command: &str| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_coracle"));
        program.arg(command).arg("--data-dir").arg(&data).arg("--kubeconfig").arg(directory.path().join("kubeconfig"));
        program.env("CORACLE_NFT", nft).stdout(Stdio::null());
        program
    };
    let mut child = program("up").args(["--runtime", "native"]).spawn()?;
    let measured = measured(&data.join("kubeconfig"), name).await;
    program("down").status().await?;
    child.wait().await?;
    measured
}

async fn measured(kubeconfig: &std::path::Path, name: &str) -> Result<String, Failure> {
    let begun = Instant::now();
    let target = loop {
        if let Ok(target) = Target::of_kubeconfig(kubeconfig).await
            && Api::<Pod>::default_namespaced(target.client.clone()).list(&Default::default()).await.is_ok()
        {
            break target;
        }
        in_time(begun, "the cluster").await?;
    };
    let (pods, services): (Api<Pod>, Api<Service>) =
        (Api::default_namespaced(target.client.clone()), Api::default_namespaced(target.client.clone()));
    let container = json!({"name": "c", "image": "coracle.local/kubia:1.0"});
    let pod = json!({"metadata": {"name": "web", "labels": {"app": "web"}}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]}});
    while pods.create(&PostParams::default(), &object(pod.clone())?).await.is_err() {
        in_time(begun, "the pod").await?;
    }
    let spec = json!({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]});
    let service: Service = services.create(&PostParams::default(), &object(json!({"metadata": {"name": "web"}, "spec": spec}))?).await?;
    let address = format!("{}:80", service.spec.and_then(|spec| spec.cluster_ip).unwrap_or_default());
    while request(&address, "/", 0).await.is_err() {
        in_time(begun, "the service").await?;
    }
    let ip = pods.get("web").await?.status.and_then(|status| status.pod_ip).ok_or("no address")?;
    let direct = format!("{ip}:8080");
    others(&target).await?;
    let mut out = String::new();
    for (way, address, effect) in [("direct", &direct, None), (name, &address, Some(effect(&target, &ip).await?))] {
        let mut took = Vec::with_capacity(REQUESTS);
        let begun = Instant::now();
        for _ in 0..REQUESTS {
            let begun = Instant::now();
            request(address, "/", 0).await?;
            took.push(begun.elapsed());
        }
        let each = REQUESTS as f64 / begun.elapsed().as_secs_f64();
        took.sort_unstable();
        let begun = Instant::now();
        request(address, "/echo", LOAD).await?;
        let speed = LOAD as f64 / 1e6 / begun.elapsed().as_secs_f64();
        let effect = effect.map_or(" – | –".to_owned(), |(middle, most)| format!(" {middle:.1?} | {most:.1?}"));
        out.push_str(&format!(
            "| {way} | {:.0?} | {:.0?} | {each:.0} | {speed:.0} |{effect} |\n",
            took[REQUESTS / 2],
            took[REQUESTS * 99 / 100]
        ));
    }
    Ok(out)
}

/// Services that nobody asks, as many as the environment says.
async fn others(target: &Target) -> Result<(), Failure> {
    let count: usize = std::env::var("CORACLE_BENCH_SERVICES").map_or(Ok(0), |count| count.parse())?;
    let (services, slices): (Api<Service>, Api<EndpointSlice>) =
        (Api::default_namespaced(target.client.clone()), Api::default_namespaced(target.client.clone()));
    let make = |number: usize| {
        let (services, slices) = (services.clone(), slices.clone());
        async move {
            let name = format!("other-{number}");
            let ports = json!([{"port": 80, "targetPort": 8080}]);
            services.create(&PostParams::default(), &object(json!({"metadata": {"name": name}, "spec": {"ports": ports}}))?).await?;
            let address =
                |at: usize| json!({"addresses": [format!("10.244.{}.{}", 100 + number % 100, 2 + number / 100 * ENDPOINTS + at)]});
            let endpoints: Vec<_> = (0..ENDPOINTS).map(address).collect();
            let slice = json!({"metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}}, "addressType": "IPv4",
                "ports": [{"name": "", "port": 8080}], "endpoints": endpoints});
            slices.create(&PostParams::default(), &object(slice)?).await?;
            Ok::<_, Failure>(())
        }
    };
    let begun = Instant::now();
    stream::iter(0..count).map(make).buffer_unordered(16).try_collect::<()>().await?;
    if count > 0 {
        eprintln!("{count} services of {ENDPOINTS} endpoints were made in {:.1?}", begun.elapsed());
    }
    Ok(())
}

async fn in_time(begun: Instant, what: &str) -> Result<(), Failure> {
    tokio::time::sleep(Duration::from_millis(20)).await;
    if begun.elapsed() > PATIENCE { Err(format!("{what} is not there").into()) } else { Ok(()) }
}

/// One request over a connection of its own.
async fn request(address: &str, path: &str, load: usize) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {load}\r\n\r\n").as_bytes()).await?;
    let (mut reading, mut writing) = stream.split();
    let write = async {
        let part = vec![b'x'; 64 << 10];
        for _ in 0..load / part.len() {
            writing.write_all(&part).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    let read = async {
        let (mut part, mut all) = (vec![0; 64 << 10], 0);
        loop {
            match reading.read(&mut part).await? {
                0 if all > load => return Ok(()),
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                count => all += count,
            }
        }
    };
    tokio::try_join!(write, read).map(drop)
}

/// From a new slice's being written to the first connection through it: the middle one and the longest.
async fn effect(target: &Target, ip: &str) -> Result<(Duration, Duration), Failure> {
    let (services, slices): (Api<Service>, Api<EndpointSlice>) =
        (Api::default_namespaced(target.client.clone()), Api::default_namespaced(target.client.clone()));
    let service: Service =
        services.create(&PostParams::default(), &object(json!({"metadata": {"name": "hand"}, "spec": {"ports": [{"port": 80}]}}))?).await?;
    let address = format!("{}:80", service.spec.and_then(|spec| spec.cluster_ip).unwrap_or_default());
    let slice = json!({"metadata": {"name": "hand", "labels": {"kubernetes.io/service-name": "hand"}}, "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080}], "endpoints": [{"addresses": [ip]}]});
    let mut took = Vec::new();
    // the first one also waits for what was made before it
    for number in 0..=CHANGES {
        slices.create(&PostParams::default(), &object(slice.clone())?).await?;
        let begun = Instant::now();
        while request(&address, "/", 0).await.is_err() {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        if number > 0 {
            took.push(begun.elapsed());
        }
        slices.delete("hand", &DeleteParams::default()).await?;
        while request(&address, "/", 0).await.is_ok() {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }
    took.sort_unstable();
    Ok((took[CHANGES / 2], took[CHANGES - 1]))
}
