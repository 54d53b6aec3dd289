//! Names.

use std::net::Ipv4Addr;

use hickory_server::proto::op::{Edns, Message, Query, ResponseCode};
use hickory_server::proto::rr::{Name, RData, RecordType};
use serde_json::{Value, json};

use super::super::here::{Here, MERGE, row};
use super::*;

/// What the cluster's DNS server says of a name: the data of its answers, in order.
async fn look_up(name: &str, kind: RecordType) -> Result<Vec<String>, String> {
    let asked = async {
        let socket = datagrams("10.96.0.10:53")?;
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        let mut longer = Edns::new();
        longer.set_max_payload(1_232);
        message.set_edns(longer);
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        socket.send(&message.to_vec().unwrap()).await?;
        let mut buffer = vec![0; 4096];
        let length = socket.recv(&mut buffer).await?;
        Ok::<_, std::io::Error>(Message::from_vec(&buffer[..length]).unwrap())
    };
    let answer = tokio::time::timeout(ATTEMPT, asked).await.map_err(|_| format!("{name}: silent"))?;
    let answer = answer.map_err(|error| format!("{name}: {error}"))?;
    if answer.metadata.response_code != ResponseCode::NoError {
        return Err(format!("{name}: {}", answer.metadata.response_code));
    }
    let mut out: Vec<String> = answer
        .answers
        .iter()
        .map(|record| match &record.data {
            RData::A(address) => Ipv4Addr::from(*address).to_string(),
            RData::SRV(service) => format!("{} {}", service.port, service.target),
            other => other.to_string(),
        })
        .collect();
    out.sort_unstable();
    Ok(out)
}

async fn until_answer(here: &Here, name: &str, kind: RecordType, wanted: &[&str]) {
    let mut wanted: Vec<String> = wanted.iter().map(|&one| one.to_owned()).collect();
    wanted.sort_unstable();
    here.until(&format!("{kind} of {name} is {wanted:?}"), async || {
        let found = look_up(name, kind).await?;
        if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

async fn until_no_name(here: &Here, name: &str) {
    here.until(&format!("there is no {name}"), async || match look_up(name, RecordType::A).await {
        Err(said) if said.contains("Non-Existent Domain") || said.contains("NXDomain") => Ok(()),
        other => Err(other),
    })
    .await;
}

fn full(here: &Here, name: &str) -> String {
    format!("{name}.{}.svc.cluster.local.", here.namespace)
}

/// [sig-network] DNS should provide DNS for the cluster [Conformance]
/// [sig-network] DNS should provide /etc/hosts entries for the cluster [Conformance]
#[test]
fn pods_resolve_the_cluster() {
    row("names of the cluster", &BOTH, async |here| {
        let api = here.get("/api/v1/namespaces/default/services/kubernetes").await.ok();
        until_answer(here, "kubernetes.default.svc.cluster.local.", RecordType::A, &[api["spec"]["clusterIP"].as_str().unwrap()]).await;
        make_service(here, "named", json!({"clusterIP": "None", "selector": {"app": "web"}, "ports": [{"port": 80}]})).await;
        make_pods(here, &[server("a", &json!({"hostname": "querier", "subdomain": "named"}))]).await;
        let ip = pod_ip(here, "a").await;
        // any answer of the API server shows that its name was found
        let code = ["exec", "a", "--", "curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "https://kubernetes.default/livez"];
        assert_eq!(here.until("the API server answers", async || here.kubectl(&code).try_ok()).await, "200");
        let hosts = here.kubectl(&["exec", "a", "--", "cat", "/etc/hosts"]).ok();
        let own = hosts.lines().find(|line| line.starts_with(&ip)).unwrap_or_else(|| panic!("{hosts}")).to_owned();
        let name = full(here, "querier.named");
        assert!(own.contains(name.trim_end_matches('.')) && own.ends_with("querier"), "{own}");
        assert_eq!(who(&until_curl(here, "a", "http://querier:8080").await).as_deref(), Some("querier"));
    });
}

/// [sig-network] DNS should provide DNS for services [Conformance]
/// [sig-network] DNS should resolve DNS of partial qualified names for services [LinuxOnly] [Conformance]
/// [sig-network] DNS should provide DNS for pods for Hostname [Conformance]
/// [sig-network] DNS should provide DNS for pods for Subdomain [Conformance]
#[test]
fn services_and_pods_have_names() {
    row("names of services", &BOTH, async |here| {
        let ports =
            json!([{"name": "http", "port": 80, "targetPort": 8080}, {"name": "words", "port": 53, "targetPort": 8080, "protocol": "UDP"}]);
        let plain = make_service(here, "plain", json!({"selector": {"app": "web"}, "ports": ports})).await;
        make_service(here, "headless", json!({"clusterIP": "None", "selector": {"app": "web"}, "ports": ports})).await;
        until_no_name(here, &full(here, "headless")).await;
        make_pods(here, &[server("a", &json!({"hostname": "first", "subdomain": "headless"})), server("b", &json!({}))]).await;
        let (a, b) = (pod_ip(here, "a").await, pod_ip(here, "b").await);
        let ip = cluster_ip(&plain);
        until_answer(here, &full(here, "plain"), RecordType::A, &[&ip]).await;
        until_answer(here, &full(here, "headless"), RecordType::A, &[&a, &b]).await;
        until_answer(here, &full(here, "first.headless"), RecordType::A, &[&a]).await;
        until_answer(here, &format!("{}.{}.pod.cluster.local.", a.replace('.', "-"), here.namespace), RecordType::A, &[&a]).await;
        until_answer(here, &full(here, "_http._tcp.plain"), RecordType::SRV, &[&format!("80 {}", full(here, "plain"))]).await;
        let other = format!("{}.headless", b.replace('.', "-"));
        let targets = [format!("8080 {}", full(here, "first.headless")), format!("8080 {}", full(here, &other))];
        for name in ["_http._tcp.headless", "_words._udp.headless"] {
            until_answer(here, &full(here, name), RecordType::SRV, &[&targets[0], &targets[1]]).await;
        }
        let reverse = |ip: &str| format!("{}.in-addr.arpa.", ip.split('.').rev().collect::<Vec<_>>().join("."));
        until_answer(here, &reverse(&ip), RecordType::PTR, &[&full(here, "plain")]).await;
        for name in ["nothing.plain", "gone"] {
            until_no_name(here, &full(here, name)).await;
        }
        for name in ["plain", &format!("plain.{}", here.namespace), &format!("plain.{}.svc", here.namespace)] {
            until_pod_gets(here, "b", &format!("http://{name}"), &["first", "b"]).await;
        }
        until_pod_gets(here, "b", "http://headless:8080", &["first", "b"]).await;
        until_pod_gets(here, "b", "http://first.headless:8080", &["first"]).await;
    });
}

/// [sig-network] DNS should provide DNS for ExternalName services [Conformance]
#[test]
fn names_lead_to_other_names() {
    row("names of others", &[Need::Native], async |here| {
        make_service(here, "out", json!({"type": "ExternalName", "externalName": "foo.example.com"})).await;
        let path = here.path("v1", "services/out");
        until_answer(here, &full(here, "out"), RecordType::CNAME, &["foo.example.com."]).await;
        here.patch(&path, MERGE, &json!({"spec": {"externalName": "bar.example.com"}})).await.ok();
        until_answer(here, &full(here, "out"), RecordType::CNAME, &["bar.example.com."]).await;
        let spec = json!({"type": "ClusterIP", "externalName": null, "ports": [{"port": 80, "name": "http", "protocol": "TCP"}]});
        let changed = here.patch(&path, MERGE, &json!({"spec": spec})).await.ok();
        until_answer(here, &full(here, "out"), RecordType::A, &[&cluster_ip(&changed)]).await;
        // more than a datagram holds that nobody asked to be longer
        make_service(here, "many", json!({"clusterIP": "None", "ports": [{"port": 80}]})).await;
        let addresses: Vec<String> = (1..=60).map(|last| format!("10.244.77.{last}")).collect();
        let endpoints: Vec<Value> = addresses.iter().map(|address| json!({"addresses": [address]})).collect();
        let slice = json!({"metadata": {"name": "many", "labels": {"kubernetes.io/service-name": "many"}}, "addressType": "IPv4",
            "ports": [{"name": "", "port": 80}], "endpoints": endpoints});
        here.post(&here.path("discovery.k8s.io/v1", "endpointslices"), &slice).await.ok();
        let wanted: Vec<&str> = addresses.iter().map(String::as_str).collect();
        until_answer(here, &full(here, "many"), RecordType::A, &wanted).await;
        // names of this project's own are nobody else's business, and without upstream every other name fails at once
        until_no_name(here, "kubia.coracle.local.").await;
        let begun = std::time::Instant::now();
        let said = look_up("example.com.", RecordType::A).await.unwrap_err();
        assert!(!said.contains("silent"), "{said} after {:?}", begun.elapsed());
    });
}

/// [sig-network] DNS should support configurable pod DNS nameservers [Conformance]
#[test]
fn pods_choose_their_servers() {
    row("names by choice", &BOTH, async |here| {
        let config = json!({"nameservers": ["1.1.1.1"], "searches": ["resolv.conf.local"], "options": [{"name": "ndots", "value": "2"}]});
        let own: Value = json!({"dnsPolicy": "None", "dnsConfig": config});
        make_pods(here, &[server("own", &own), server("usual", &json!({})), server("host", &json!({"dnsPolicy": "Default"}))]).await;
        let read = |pod: &str| here.kubectl(&["exec", pod, "--", "cat", "/etc/resolv.conf"]).ok();
        assert_eq!(read("own"), "search resolv.conf.local\nnameserver 1.1.1.1\noptions ndots:2\n");
        let usual = read("usual");
        let search = format!("search {0}.svc.cluster.local svc.cluster.local cluster.local", here.namespace);
        assert!(
            usual.starts_with(&search) && usual.contains("\nnameserver 10.96.0.10\n") && usual.contains("options ndots:5\n"),
            "{usual}"
        );
        assert!(!read("host").contains("10.96.0.10"));
    });
}
