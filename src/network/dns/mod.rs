//! The cluster's DNS server: names of services and of pods behind headless services, straight from the informers.
//!
//! [`names::answer`] decides what a name means; this file listens and speaks the protocol.

mod names;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use coracle_client::{Index, Informer, Informers};
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Header, HeaderCounts, MessageType, Metadata, OpCode, ResponseCode};
use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, PTR, SRV};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio_util::sync::CancellationToken;

use crate::error::NetworkError;
use crate::lab::Lab;
use names::{Answer, Data, Zone};

/// Seconds that answers may be kept, as CoreDNS's default.
const TTL: u32 = 5;
const PORT: u16 = 53;

/// Index of services by their cluster IP.
const BY_ADDRESS: &str = "dns-cluster-ip";
/// Index of slices by `namespace/service`.
const BY_SERVICE: &str = "dns-service";

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
    let mut server = hickory_server::Server::new(Handler { records: Records::new(informers), domain: domain.to_owned() });
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
}

impl Records {
    fn new(informers: &Informers) -> Self {
        let services = informers.of::<Service>();
        let by_address = services.index(BY_ADDRESS, |service| {
            let spec = service.spec.as_ref();
            spec.and_then(|spec| spec.cluster_ips.clone()).unwrap_or_default()
        });
        let slices = informers.of::<EndpointSlice>().index(BY_SERVICE, |slice| {
            let service = slice.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"));
            service.map(|service| format!("{}/{service}", slice.metadata.namespace.as_deref().unwrap_or_default())).into_iter().collect()
        });
        Self { services, by_address, slices }
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

    fn namespace_exists(&self, namespace: &str) -> bool {
        !self.services.list_in(namespace).is_empty()
    }
}

struct Handler {
    records: Records,
    domain: String,
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut responses: R) -> ResponseInfo {
        let failed = |metadata: &Metadata, code| {
            let mut answer = Metadata::new(metadata.id, MessageType::Response, metadata.op_code);
            answer.response_code = code;
            ResponseInfo::from(Header { metadata: answer, counts: HeaderCounts::default() })
        };
        let builder = MessageResponseBuilder::from_message_request(request);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        let mut records = Vec::new();
        match request.request_info() {
            Ok(info) if request.metadata.op_code == OpCode::Query => {
                let name = Name::from(info.query.name());
                let answer = names::answer(&self.records, &self.domain, &name.to_ascii(), wanted(info.query.query_type()));
                metadata.response_code = response_code(&answer);
                metadata.authoritative = !matches!(answer, Answer::NotOurs);
                if let Answer::Records(found) = answer {
                    records = found.into_iter().filter_map(|(owner, data)| record(&name, owner, data)).collect();
                }
            }
            Ok(_) => metadata.response_code = ResponseCode::NotImp,
            Err(_) => metadata.response_code = ResponseCode::FormErr,
        }
        let none: [Record; 0] = [];
        let response = builder.build(metadata, records.iter(), none.iter(), none.iter(), none.iter());
        match responses.send_response(response).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, "a DNS answer was not sent");
                failed(&request.metadata, ResponseCode::ServFail)
            }
        }
    }
}

fn wanted(kind: RecordType) -> names::Wanted {
    match kind {
        RecordType::A => names::Wanted::A,
        RecordType::AAAA => names::Wanted::Aaaa,
        RecordType::SRV => names::Wanted::Srv,
        RecordType::PTR => names::Wanted::Ptr,
        RecordType::CNAME => names::Wanted::Cname,
        RecordType::ANY => names::Wanted::Any,
        _ => names::Wanted::Other,
    }
}

fn response_code(answer: &Answer) -> ResponseCode {
    match answer {
        Answer::Records(_) => ResponseCode::NoError,
        Answer::NoName => ResponseCode::NXDomain,
        // there is no server to ask: saying so at once lets the asker go on
        Answer::NotOurs => ResponseCode::ServFail,
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
    };
    Some(Record::from_rdata(owner, TTL, data))
}
