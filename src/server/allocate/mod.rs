//! Addresses and ports that services get: cluster IPs from the service range, node ports.
//!
//! Users add ranges as objects of kind ServiceCIDR, and hold single addresses back as objects of kind IPAddress.
//! What is taken is read from the stored services once and kept in memory from then on. A write takes what it needs before
//! it is stored ([`Services::reserve`]); the [`Reservation`] gives it back unless the write is said to have happened.
//! As upstream does, each range has a lower band that is handed out by itself only when the rest is full, so that addresses
//! chosen by hand seldom collide.

mod pool;

use std::net::IpAddr;
use std::sync::Arc;

use coracle_api::field::FieldError;
use coracle_api::status::Status;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::objects::Lookup;
use pool::{Pool, Refusal, Span};

/// Why there are no ranges to take from.
#[derive(Debug, thiserror::Error)]
pub enum RangeError {
    /// Not `address/prefix`, or an IPv6 one.
    #[error("service range {0:?} is no IPv4 range")]
    Cidr(String),
}

struct Pools {
    addresses: Pool,
    ports: Pool,
}

/// The addresses and ports of the cluster's services.
pub struct Services {
    pools: Mutex<Pools>,
    cidr: String,
    ports: (u16, u16),
}

/// What one service has.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Holding {
    addresses: Vec<u32>,
    ports: Vec<u32>,
}

/// What was taken for a write. Unless it is kept it is given back.
#[must_use]
pub struct Reservation {
    services: Arc<Services>,
    taken: Holding,
    /// Given back once the write happened.
    released: Holding,
}

impl Reservation {
    /// The write happened: what it took stays taken, what it left is free.
    pub fn keep(mut self) {
        self.taken = Holding::default();
        let released = std::mem::take(&mut self.released);
        self.services.give_back(&released);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.services.give_back(&self.taken);
    }
}

fn needs_address(spec: &Value) -> bool {
    spec["type"] != "ExternalName" && spec["clusterIP"] != "None"
}

fn needs_ports(spec: &Value) -> bool {
    spec["type"] == "NodePort" || spec["type"] == "LoadBalancer" && spec["allocateLoadBalancerNodePorts"] != json!(false)
}

fn needs_health_port(spec: &Value) -> bool {
    spec["type"] == "LoadBalancer" && spec["externalTrafficPolicy"] == "Local"
}

/// What a service asks of addresses that are not IPv4, of which there are none. Headless services without a selector may
/// name any family: somebody else keeps their endpoints.
fn unknown_families(spec: &Value) -> Vec<FieldError> {
    let selects = spec["selector"].as_object().is_some_and(|selector| !selector.is_empty());
    if spec["type"] == "ExternalName" || spec["clusterIP"] == "None" && !selects {
        return Vec::new();
    }
    let mut out = Vec::new();
    if spec["ipFamilyPolicy"] == "RequireDualStack" {
        let words = "this cluster is not configured for dual-stack services";
        out.push(FieldError::invalid("spec.ipFamilyPolicy", "RequireDualStack", words));
    }
    for (index, family) in spec["ipFamilies"].as_array().into_iter().flatten().enumerate().filter(|(_, family)| *family != "IPv4") {
        out.push(FieldError::invalid(format!("spec.ipFamilies[{index}]"), family.clone(), "not configured on this cluster"));
    }
    out
}

fn given_port(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|port| u32::try_from(port).ok()).filter(|port| *port != 0)
}

fn address(text: &Value) -> Option<u32> {
    match text.as_str()?.parse().ok()? {
        IpAddr::V4(ip) => Some(ip.to_bits()),
        IpAddr::V6(_) => None,
    }
}

/// What a stored service has.
fn holding(service: &Value) -> Holding {
    let spec = &service["spec"];
    let mut held = Holding::default();
    if needs_address(spec) {
        held.addresses.extend(spec["clusterIPs"].as_array().into_iter().flatten().filter_map(address));
        if held.addresses.is_empty() {
            held.addresses.extend(address(&spec["clusterIP"]));
        }
    }
    for port in spec["ports"].as_array().into_iter().flatten() {
        held.ports.extend(given_port(&port["nodePort"]).filter(|port| !held.ports.contains(port)));
    }
    held.ports.extend(given_port(&spec["healthCheckNodePort"]));
    held
}

impl Services {
    /// The ranges, with what the stored services have of them taken.
    ///
    /// # Errors
    /// The service range is not one.
    pub fn new(lookup: &dyn Lookup, service_cidr: &str, ports: (u16, u16)) -> Result<Arc<Self>, RangeError> {
        let span = span(service_cidr).ok_or_else(|| RangeError::Cidr(service_cidr.to_owned()))?;
        let count = u32::from(ports.1) - u32::from(ports.0) + 1;
        let node_ports = Pool::new(Span { first: u32::from(ports.0), size: count, band: band(count, 32, 128) });
        let pools = Pools { addresses: Pool::new(span), ports: node_ports };
        let services = Self { pools: Mutex::new(pools), cidr: service_cidr.to_owned(), ports };
        for service in lookup.list("", "services", "") {
            let held = holding(&service);
            let mut pools = services.pools.lock();
            held.addresses.into_iter().for_each(|address| pools.addresses.occupy(address));
            for port in held.ports {
                pools.ports.occupy(port);
            }
        }
        Ok(Arc::new(services))
    }

    /// Takes what a new (`old` absent) or changed service needs and fills it in. What it asks for by name must be free.
    ///
    /// # Errors
    /// 422 for an address or port that is taken or out of range, 500 when a range is full.
    pub fn reserve(self: &Arc<Self>, lookup: &dyn Lookup, service: &mut Value, old: Option<&Value>) -> Result<Reservation, Status> {
        let before = old.map(holding).unwrap_or_default();
        let mut reservation = Reservation { services: self.clone(), taken: Holding::default(), released: Holding::default() };
        let name = service.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let invalid = |error: FieldError| Status::invalid("", "Service", &name, &[error]);
        let spec = &mut service["spec"];
        let unknown = unknown_families(spec);
        if !unknown.is_empty() {
            return Err(Status::invalid("", "Service", &name, &unknown));
        }
        {
            let more = added(lookup);
            let mut pools = self.pools.lock();
            pools.addresses.extend(&more);
            self.take_address(lookup, &mut pools.addresses, spec, &before, &mut reservation.taken)
                .map_err(|error| error.answer(invalid))?;
            self.take_ports(&mut pools.ports, spec, &before, &mut reservation.taken).map_err(|error| error.answer(invalid))?;
        }
        let after = holding(service);
        reservation.released.addresses = before.addresses.into_iter().filter(|address| !after.addresses.contains(address)).collect();
        reservation.released.ports = before.ports.into_iter().filter(|port| !after.ports.contains(port)).collect();
        Ok(reservation)
    }

    /// Frees what a service had that is gone.
    pub fn release(&self, service: &Value) {
        self.give_back(&holding(service));
    }

    fn give_back(&self, held: &Holding) {
        if *held == Holding::default() {
            return;
        }
        let mut pools = self.pools.lock();
        held.addresses.iter().for_each(|address| pools.addresses.free(*address));
        held.ports.iter().for_each(|port| pools.ports.free(*port));
    }

    fn take_address(
        &self,
        lookup: &dyn Lookup,
        pool: &mut Pool,
        spec: &mut Value,
        before: &Holding,
        taken: &mut Holding,
    ) -> Result<(), Fault> {
        if !needs_address(spec) {
            if spec["clusterIP"] == "None" {
                spec["clusterIPs"] = json!(["None"]);
            }
            return Ok(());
        }
        let asked = spec["clusterIP"].as_str().filter(|ip| !ip.is_empty()).map(str::to_owned);
        let text = match asked {
            None => {
                let bits = pool
                    .take_any(|address| is_held(lookup, address))
                    .ok_or_else(|| Fault::Full("failed to allocate a serviceIP: range is full".to_owned()))?;
                taken.addresses.push(bits);
                std::net::Ipv4Addr::from_bits(bits).to_string()
            }
            Some(text) => {
                let refused = |why: String| {
                    let value = spec.get("clusterIPs").filter(|list| list.is_array()).cloned().unwrap_or_else(|| json!([text]));
                    Fault::Field(FieldError::invalid("spec.clusterIPs", value, format!("failed to allocate IP {text}: {why}")))
                };
                let bits =
                    address(&json!(text)).ok_or_else(|| refused("the provided network does not match the current range".to_owned()))?;
                if !before.addresses.contains(&bits) {
                    if is_held(lookup, bits) {
                        return Err(refused("provided IP is already allocated".to_owned()));
                    }
                    pool.take(bits).map_err(|refusal| match refusal {
                        Refusal::Taken => refused("provided IP is already allocated".to_owned()),
                        Refusal::Outside => {
                            refused(format!("the provided IP ({text}) is not in the valid range. The range of valid IPs is {}", self.cidr))
                        }
                    })?;
                    taken.addresses.push(bits);
                }
                text
            }
        };
        spec["clusterIP"] = json!(text);
        spec["clusterIPs"] = json!([text]);
        Ok(())
    }

    /// Ports of one service that differ in protocol only may share a node port.
    fn take_ports(&self, pool: &mut Pool, spec: &mut Value, before: &Holding, taken: &mut Holding) -> Result<(), Fault> {
        let needs = needs_ports(spec);
        let mut own: Vec<(u32, String, u64)> = Vec::new();
        let key = |port: &Value| (port["protocol"].as_str().unwrap_or("TCP").to_owned(), port["port"].as_u64().unwrap_or(0));
        let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
        let ports = ports.map(Vec::as_mut_slice).unwrap_or_default();
        // asked for by number first: what is chosen freely must not take it
        for (index, port) in ports.iter().enumerate() {
            let Some(number) = given_port(&port["nodePort"]) else { continue };
            let (protocol, target) = key(port);
            let shared = own.iter().any(|(other, theirs, _)| *other == number && *theirs != protocol);
            if !shared && !before.ports.contains(&number) {
                self.take_port(pool, number, &format!("spec.ports[{index}].nodePort"))?;
                taken.ports.push(number);
            }
            own.push((number, protocol, target));
        }
        for port in ports.iter_mut().filter(|_| needs) {
            if given_port(&port["nodePort"]).is_some() {
                continue;
            }
            let (protocol, target) = key(port);
            let shared = own
                .iter()
                .filter(|(_, theirs, same)| *theirs != protocol && *same == target)
                .map(|(number, _, _)| *number)
                .find(|number| !own.iter().any(|(other, theirs, _)| other == number && *theirs == protocol));
            let number = match shared {
                Some(number) => number,
                None => {
                    let number = any_port(pool)?;
                    taken.ports.push(number);
                    number
                }
            };
            port["nodePort"] = json!(number);
            own.push((number, protocol, target));
        }
        if needs_health_port(spec) {
            match given_port(&spec["healthCheckNodePort"]) {
                Some(number) if before.ports.contains(&number) => {}
                Some(number) => {
                    self.take_port(pool, number, "spec.healthCheckNodePort")?;
                    taken.ports.push(number);
                }
                None => {
                    let number = any_port(pool)?;
                    taken.ports.push(number);
                    spec["healthCheckNodePort"] = json!(number);
                }
            }
        }
        Ok(())
    }

    fn take_port(&self, pool: &mut Pool, number: u32, field: &str) -> Result<(), Fault> {
        let why = match pool.take(number) {
            Ok(()) => return Ok(()),
            Err(Refusal::Taken) => "provided port is already allocated".to_owned(),
            Err(Refusal::Outside) => {
                format!("provided port is not in the valid range. The range of valid ports is {}-{}", self.ports.0, self.ports.1)
            }
        };
        Err(Fault::Field(FieldError::invalid(field, number, why)))
    }
}

/// The addresses of a range: neither its own nor its broadcast address.
fn span(cidr: &str) -> Option<Span> {
    let (base, prefix) = cidr.split_once('/')?;
    let prefix: u32 = prefix.parse().ok().filter(|prefix| (8..=30).contains(prefix))?;
    let base = base.parse::<std::net::Ipv4Addr>().ok()?.to_bits() & (u32::MAX << (32 - prefix));
    let size = (1_u32 << (32 - prefix)) - 2;
    Some(Span { first: base + 1, size, band: band(size, 16, 256) })
}

/// Ranges that users added to the cluster's own and that are ready.
fn added(lookup: &dyn Lookup) -> Vec<Span> {
    let is_ready = |range: &Arc<Value>| {
        let conditions = range.pointer("/status/conditions").and_then(Value::as_array);
        conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
    };
    let ranges = lookup.list("networking.k8s.io", "servicecidrs", "");
    let others = ranges.iter().filter(|range| range["metadata"]["name"] != "kubernetes" && is_ready(range));
    others
        .flat_map(|range| range["spec"]["cidrs"].as_array().cloned().unwrap_or_default())
        .filter_map(|cidr| span(cidr.as_str()?))
        .collect()
}

/// Whether somebody else than a service has an address by name.
fn is_held(lookup: &dyn Lookup, address: u32) -> bool {
    let name = std::net::Ipv4Addr::from_bits(address).to_string();
    let object = lookup.get("networking.k8s.io", "ipaddresses", "", &name);
    object.is_some_and(|object| object["metadata"]["labels"]["ipaddress.kubernetes.io/managed-by"] != "ipallocator.k8s.io")
}

/// Size of the lower band of a range, as upstream reckons it: a part of the range, at least 16, at most `most`.
fn band(size: u32, part: u32, most: u32) -> u32 {
    if size < 16 { 0 } else { (size / part).clamp(16, most) }
}

fn any_port(pool: &mut Pool) -> Result<u32, Fault> {
    pool.take_any(|_| false).ok_or_else(|| Fault::Full("failed to allocate a nodePort: range is full".to_owned()))
}

/// Why something was not taken.
enum Fault {
    Field(FieldError),
    Full(String),
}

impl Fault {
    fn answer(self, invalid: impl FnOnce(FieldError) -> Status) -> Status {
        match self {
            Self::Field(error) => invalid(error),
            Self::Full(why) => Status::internal(why),
        }
    }
}

#[cfg(test)]
mod tests;
