//! The cluster's DNS server: names of services and of pods behind headless services, straight from the informers; other
//! names are asked of the host's servers.
//!
//! [`names::answer`] decides what a name means, [`forward`] asks others; this file listens and speaks the protocol.

mod forward;
mod names;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use coracle_client::{Index, Informer, Informers};
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::Query;
use hickory_server::proto::op::{Edns, Header, HeaderCounts, MessageType, Metadata, OpCode, ResponseCode};
use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, SRV, TXT};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio_util::sync::CancellationToken;

use crate::error::NetworkError;
use crate::lab::Lab;
use crate::ranges::Ranges;
use forward::Forwarder;
use names::{Answer, Data, Zone};

/// Seconds that answers may be kept, as CoreDNS's default.
const TTL: u32 = 5;
const PORT: u16 = 53;
/// Bytes of a datagram that every link takes.
const LONGEST: u16 = 1_232;
/// How long a question waits for the first look at what there is: less than a resolver's own patience.
const PATIENCE: Duration = Duration::from_secs(4);

/// Index of services by their cluster IP.
const BY_ADDRESS: &str = "dns-cluster-ip";
/// Index of slices by `namespace/service`.
const BY_SERVICE: &str = "dns-service";
/// Index of slices by the addresses of their endpoints.
const BY_ENDPOINT: &str = "dns-endpoint";

/// Answers on the DNS service's address until `shutdown`.
pub async fn start(
    lab: &Lab,
    informers: &Informers,
    domain: &str,
    shutdown: CancellationToken,
) -> Result<tokio::task::JoinHandle<()>, NetworkError> {
    let address = SocketAddr::from((lab.ranges().dns(), PORT));
    let failed = |source| NetworkError::Namespace { path: format!("lab, {address}").into(), step: "the DNS server cannot listen", source };
    let udp = lab.bind_udp(address).await.map_err(failed)?;
    let tcp = lab.listen_tcp(address).await.map_err(failed)?;
    let forwarder = Forwarder::of_host(address.ip());
    let mut server =
        hickory_server::Server::new(Handler { records: Records::new(informers, lab.ranges()), domain: domain.to_owned(), forwarder });
    server.register_socket(udp);
    server.register_listener(tcp, Duration::from_secs(5), 4_096);
    Ok(tokio::spawn(async move {
        shutdown.cancelled().await;
        if let Err(error) = server.shutdown_gracefully().await {
            tracing::warn!(%error, "the DNS server did not end cleanly");
        }
    }))
}

/// What names are made of.
struct Records {
    services: Informer<Service>,
    by_address: Index<Service>,
    slices: Index<EndpointSlice>,
    all_slices: Informer<EndpointSlice>,
    by_endpoint: Index<EndpointSlice>,
    namespaces: Informer<Namespace>,
    ranges: Ranges,
}

impl Records {
    fn new(informers: &Informers, ranges: Ranges) -> Self {
        let services = informers.of::<Service>();
        let by_address = services.index(BY_ADDRESS, |service| {
            let spec = service.spec.as_ref();
            spec.and_then(|spec| spec.cluster_ips.clone()).unwrap_or_default()
        });
        let all_slices = informers.of::<EndpointSlice>();
        let slices = all_slices.index(BY_SERVICE, |slice| {
            let service = slice.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"));
            service.map(|service| format!("{}/{service}", slice.metadata.namespace.as_deref().unwrap_or_default())).into_iter().collect()
        });
        let by_endpoint = all_slices.index(BY_ENDPOINT, |slice| {
            let mut addresses: Vec<String> = slice.endpoints.iter().flatten().flat_map(|endpoint| endpoint.addresses.clone()).collect();
            addresses.sort_unstable();
            addresses.dedup();
            addresses
        });
        Self { services, by_address, slices, all_slices, by_endpoint, namespaces: informers.of(), ranges }
    }

    /// Waits until what there is is known: before, no name may be said to be missing.
    async fn known(&self) {
        self.services.synced().await;
        self.all_slices.synced().await;
        self.namespaces.synced().await;
    }
}

impl Zone for Records {
    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        self.services.get(namespace, name)
    }

    fn slices(&self, namespace: &str, service: &str) -> Vec<Arc<EndpointSlice>> {
        self.slices.get(&format!("{namespace}/{service}"))
    }

    fn services_at(&self, address: &str) -> Vec<Arc<Service>> {
        self.by_address.get(address)
    }

    fn slices_at(&self, address: &str) -> Vec<Arc<EndpointSlice>> {
        self.by_endpoint.get(address)
    }

    fn is_inside(&self, address: &str) -> bool {
        address.parse().is_ok_and(|address| self.ranges.pods.contains(address) || self.ranges.services.contains(address))
    }

    fn namespace_exists(&self, namespace: &str) -> bool {
        self.namespaces.get("", namespace).is_some()
    }
}

struct Handler {
    records: Records,
    domain: String,
    forwarder: Forwarder,
}

/// What is answered.
#[derive(Default)]
struct Reply {
    code: ResponseCode,
    authoritative: bool,
    answers: Vec<Record>,
    /// Says for how long a name is known not to be there.
    authorities: Vec<Record>,
    additionals: Vec<Record>,
}

impl Handler {
    async fn reply(&self, name: &Name, kind: RecordType, recursive: bool) -> Reply {
        if tokio::time::timeout(PATIENCE, self.records.known()).await.is_err() {
            return Reply { code: ResponseCode::ServFail, ..Reply::default() };
        }
        let (answer, elsewhere) = names::resolve(&self.records, &self.domain, &name.to_ascii(), wanted(kind));
        let mut reply = Reply { authoritative: true, ..Reply::default() };
        match answer {
            Answer::NotOurs => return self.ask_others(name, kind, recursive).await,
            Answer::NoName => reply.code = ResponseCode::NXDomain,
            Answer::Records(found) => {
                reply.additionals = self.targets(&found);
                reply.answers = found.into_iter().filter_map(|(owner, data)| record(name, owner, data)).collect();
            }
        }
        if reply.answers.is_empty() {
            reply.authorities.extend(start_of_authority(&self.domain));
        }
        if let Some(elsewhere) = elsewhere.and_then(|name| Name::from_ascii(name).ok())
            && recursive
        {
            reply.answers.extend(self.ask_others(&elsewhere, kind, recursive).await.answers);
        }
        reply
    }

    async fn ask_others(&self, name: &Name, kind: RecordType, recursive: bool) -> Reply {
        let failed = Reply { code: ResponseCode::ServFail, ..Reply::default() };
        if !recursive {
            return Reply { code: ResponseCode::Refused, ..Reply::default() };
        }
        let Some(answer) = self.forwarder.ask(&Query::query(name.clone(), kind)).await else { return failed };
        Reply {
            code: answer.metadata.response_code,
            authoritative: false,
            answers: answer.answers,
            authorities: answer.authorities,
            additionals: answer.additionals,
        }
    }

    /// Addresses of the hosts that records of services name.
    fn targets(&self, found: &[(Option<String>, Data)]) -> Vec<Record> {
        let hosts = found.iter().filter_map(|(_, data)| if let Data::Service { target, .. } = data { Some(target) } else { None });
        let mut hosts: Vec<&String> = hosts.collect();
        hosts.sort_unstable();
        hosts.dedup();
        let mut out = Vec::new();
        for host in hosts {
            let (Ok(name), Answer::Records(addresses)) =
                (Name::from_ascii(host), names::answer(&self.records, &self.domain, host, names::Wanted::A))
            else {
                continue;
            };
            out.extend(addresses.into_iter().filter_map(|(owner, data)| record(&name, owner, data)));
        }
        out
    }
}

fn start_of_authority(domain: &str) -> Option<Record> {
    let name = |text: String| Name::from_ascii(text).ok();
    let (server, person) = (name(format!("ns.dns.{domain}."))?, name(format!("hostmaster.{domain}."))?);
    let data = SOA::new(server, person, 1, 7_200, 1_800, 86_400, TTL);
    Some(Record::from_rdata(name(format!("{domain}."))?, TTL, RData::SOA(data)))
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut responses: R) -> ResponseInfo {
        let failed = |metadata: &Metadata, code| {
            let mut answer = Metadata::new(metadata.id, MessageType::Response, metadata.op_code);
            answer.response_code = code;
            ResponseInfo::from(Header { metadata: answer, counts: HeaderCounts::default() })
        };
        let mut builder = MessageResponseBuilder::from_message_request(request);
        let edns = request.edns.as_ref().map(longer);
        if let Some(edns) = &edns {
            builder.edns(edns);
        }
        let mut metadata = Metadata::response_from_request(&request.metadata);
        let reply = match request.request_info() {
            Ok(info) if request.metadata.op_code == OpCode::Query => {
                let name = Name::from(info.query.name());
                self.reply(&name, info.query.query_type(), request.metadata.recursion_desired).await
            }
            Ok(_) => Reply { code: ResponseCode::NotImp, ..Reply::default() },
            Err(_) => Reply { code: ResponseCode::FormErr, ..Reply::default() },
        };
        metadata.response_code = reply.code;
        metadata.authoritative = reply.authoritative;
        metadata.recursion_available = true;
        let none: [Record; 0] = [];
        let response = builder.build(metadata, &reply.answers, &reply.authorities, none.iter(), &reply.additionals);
        match responses.send_response(response).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, "a DNS answer was not sent");
                failed(&request.metadata, ResponseCode::ServFail)
            }
        }
    }
}

/// Whoever takes longer datagrams gets them, as long as they are not cut on their way.
fn longer(asked: &Edns) -> Edns {
    let mut own = Edns::new();
    own.set_max_payload(asked.max_payload().clamp(512, LONGEST));
    own
}

fn wanted(kind: RecordType) -> names::Wanted {
    match kind {
        RecordType::A => names::Wanted::A,
        RecordType::AAAA => names::Wanted::Aaaa,
        RecordType::SRV => names::Wanted::Srv,
        RecordType::PTR => names::Wanted::Ptr,
        RecordType::CNAME => names::Wanted::Cname,
        RecordType::TXT => names::Wanted::Txt,
        RecordType::ANY => names::Wanted::Any,
        _ => names::Wanted::Other,
    }
}

/// The record of `owner` (of the name asked for, if `None`).
fn record(asked: &Name, owner: Option<String>, data: Data) -> Option<Record> {
    let name = |text: &str| Name::from_ascii(text).ok();
    let owner = owner.map_or_else(|| Some(asked.clone()), |owner| name(&owner))?;
    let data = match data {
        Data::Address(std::net::IpAddr::V4(address)) => RData::A(A(address)),
        Data::Address(std::net::IpAddr::V6(address)) => RData::AAAA(AAAA(address)),
        Data::Service { port, target } => RData::SRV(SRV::new(0, 100, port, name(&target)?)),
        Data::Pointer(target) => RData::PTR(PTR(name(&target)?)),
        Data::Alias(target) => RData::CNAME(CNAME(name(&target)?)),
        Data::Text(text) => RData::TXT(TXT::new(vec![text])),
    };
    Some(Record::from_rdata(owner, TTL, data))
}
