//! Names of others: asked of the servers that the host asks, and remembered for as long as they say.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hickory_server::proto::op::{Message, Query, ResponseCode};
use hickory_server::proto::rr::{RData, RecordType};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// How long a server may take; then the next one is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the host's list of servers is believed.
const FRESH: Duration = Duration::from_secs(5);
/// Answers are kept no longer, however long they may be.
const LONGEST: u32 = 3_600;
/// What says no is kept no longer than this.
const LONGEST_NO: u32 = 30;
const MOST: usize = 10_000;
/// systemd's own list, behind its resolver on the loopback address.
const BEHIND_STUB: &str = "/run/systemd/resolve/resolv.conf";

type Key = (String, RecordType);

/// Asks the host's servers.
pub(super) struct Forwarder {
    files: Vec<PathBuf>,
    /// Our own address: a host that asks us is not asked back.
    own: IpAddr,
    port: u16,
    servers: Mutex<(Option<Instant>, Vec<IpAddr>)>,
    known: Mutex<HashMap<Key, (Instant, Message)>>,
}

impl Forwarder {
    /// One that reads the host's list of servers.
    pub(super) fn of_host(own: IpAddr) -> Self {
        Self::new(vec!["/etc/resolv.conf".into(), BEHIND_STUB.into()], own, 53)
    }

    fn new(files: Vec<PathBuf>, own: IpAddr, port: u16) -> Self {
        Self { files, own, port, servers: Mutex::default(), known: Mutex::default() }
    }

    /// An answer from memory or of the first server that has one; `None` at once where no server can be reached.
    pub(super) async fn ask(&self, query: &Query) -> Option<Message> {
        let key = (query.name().to_ascii().to_ascii_lowercase(), query.query_type());
        if let Some(message) = self.remembered(&key, Instant::now()) {
            return Some(message);
        }
        for server in self.servers() {
            let asked = tokio::time::timeout(PATIENCE, ask(SocketAddr::new(server, self.port), query)).await;
            match asked {
                Ok(Ok(answer)) if answer.metadata.response_code == ResponseCode::ServFail => {}
                Ok(Ok(answer)) => {
                    self.remember(key, &answer, Instant::now());
                    return Some(answer);
                }
                Ok(Err(error)) => tracing::debug!(%server, %error, "a name server did not answer"),
                Err(_) => tracing::debug!(%server, "a name server was silent"),
            }
        }
        None
    }

    fn servers(&self) -> Vec<IpAddr> {
        let mut servers = self.servers.lock();
        if servers.0.is_none_or(|read| read.elapsed() > FRESH) {
            let text: Vec<String> = self.files.iter().map(|file| std::fs::read_to_string(file).unwrap_or_default()).collect();
            *servers = (Some(Instant::now()), name_servers(&text, self.own));
        }
        servers.1.clone()
    }

    /// With what is left of its time.
    fn remembered(&self, key: &Key, now: Instant) -> Option<Message> {
        let known = self.known.lock();
        let (since, message) = known.get(key)?;
        let age = u32::try_from(now.duration_since(*since).as_secs()).unwrap_or(u32::MAX);
        if age >= lasts(message) {
            return None;
        }
        let mut message = message.clone();
        let records = message.answers.iter_mut().chain(&mut message.authorities).chain(&mut message.additionals);
        records.for_each(|record| record.ttl = record.ttl.saturating_sub(age));
        Some(message)
    }

    fn remember(&self, key: Key, message: &Message, now: Instant) {
        if lasts(message) == 0 {
            return;
        }
        let mut known = self.known.lock();
        if known.len() >= MOST {
            known.retain(|_, (since, message)| now.duration_since(*since).as_secs() < u64::from(lasts(message)));
        }
        if known.len() < MOST {
            known.insert(key, (now, message.clone()));
        }
    }
}

/// Seconds that an answer may be used: that of its shortest record, or what the zone says of names it lacks.
fn lasts(message: &Message) -> u32 {
    match message.metadata.response_code {
        ResponseCode::NoError if !message.answers.is_empty() => {
            message.answers.iter().map(|record| record.ttl).min().unwrap_or(0).min(LONGEST)
        }
        ResponseCode::NoError | ResponseCode::NXDomain => {
            let says = message.authorities.iter().filter_map(|record| match &record.data {
                RData::SOA(zone) => Some(record.ttl.min(zone.minimum)),
                _ => None,
            });
            says.min().unwrap_or(0).min(LONGEST_NO)
        }
        _ => 0,
    }
}

/// The servers named in the texts: the second text's, where the first one names only the host's own resolver.
fn name_servers(texts: &[String], own: IpAddr) -> Vec<IpAddr> {
    let named = |text: &String| -> Vec<IpAddr> {
        let words = text.lines().filter_map(|line| line.split_once(char::is_whitespace)).filter(|(word, _)| *word == "nameserver");
        words.filter_map(|(_, address)| address.trim().parse().ok()).filter(|address| *address != own).collect()
    };
    let mut lists = texts.iter().map(named);
    let first = lists.next().unwrap_or_default();
    let stub = first.iter().all(|address| matches!(address, IpAddr::V4(address) if address.octets() == [127, 0, 0, 53]));
    lists.next().filter(|behind| stub && !behind.is_empty() && !first.is_empty()).unwrap_or(first)
}

async fn ask(server: SocketAddr, query: &Query) -> io::Result<Message> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(query.clone());
    let bytes = message.to_vec().map_err(io::Error::other)?;
    let here: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(here).await?;
    socket.connect(server).await?;
    socket.send(&bytes).await?;
    let mut buffer = vec![0; 4_096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match Message::from_vec(&buffer[..length]) {
            Ok(answer) if answer.metadata.id == message.metadata.id && answer.queries == message.queries => {
                return if answer.metadata.truncation { ask_at_length(server, &bytes).await } else { Ok(answer) };
            }
            // not an answer to this question
            _ => {}
        }
    }
}

async fn ask_at_length(server: SocketAddr, query: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], query].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Message::from_vec(&answer).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hickory_server::proto::op::OpCode;
    use hickory_server::proto::rr::rdata::A;
    use hickory_server::proto::rr::{Name, Record};

    use super::*;

    const OWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 10));

    #[test]
    fn servers_are_the_hosts() {
        let list = |first: &str, second: &str| {
            name_servers(&[first.to_owned(), second.to_owned()], OWN).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            list("# c\nsearch corp\nnameserver 192.0.2.1\nnameserver\t2001:db8::1\nnameserver 10.96.0.10\n", ""),
            "192.0.2.1 2001:db8::1"
        );
        assert_eq!(list("nameserver 127.0.0.53\n", "nameserver 192.0.2.2\n"), "192.0.2.2");
        assert_eq!(list("nameserver 127.0.0.53\n", ""), "127.0.0.53");
        assert_eq!(list("", "nameserver 192.0.2.2\n"), "");
    }

    fn answer(name: &str, ttl: u32) -> Message {
        let mut message = Message::response(0, OpCode::Query);
        let name = Name::from_ascii(name).unwrap();
        message.add_query(Query::query(name.clone(), RecordType::A));
        message.add_answer(Record::from_rdata(name, ttl, RData::A(A::new(192, 0, 2, 1))));
        message
    }

    #[test]
    fn answers_are_kept_for_their_time() {
        let forwarder = Forwarder::new(Vec::new(), OWN, 53);
        let (key, now) = (("a.example.".to_owned(), RecordType::A), Instant::now());
        forwarder.remember(key.clone(), &answer("a.example.", 30), now);
        assert_eq!(forwarder.remembered(&key, now + Duration::from_secs(10)).unwrap().answers[0].ttl, 20);
        assert!(forwarder.remembered(&key, now + Duration::from_secs(30)).is_none());
        let none = ("b.example.".to_owned(), RecordType::A);
        forwarder.remember(none.clone(), &answer("b.example.", 0), now);
        assert!(forwarder.remembered(&none, now).is_none());
    }

    #[tokio::test]
    async fn a_server_is_asked_once_and_none_is_no_at_once() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let asked = Message::from_vec(&buffer[..length]).unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
                let mut reply = answer(&asked.queries[0].name().to_ascii(), 60);
                reply.metadata.id = asked.metadata.id;
                socket.send_to(&reply.to_vec().unwrap(), from).await.unwrap();
            }
        });
        let list = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(list.path(), "nameserver 127.0.0.1\n").unwrap();
        let forwarder = Forwarder::new(vec![list.path().to_owned()], OWN, port);
        let query = Query::query(Name::from_ascii("A.example.").unwrap(), RecordType::A);
        for _ in 0..3 {
            let found = forwarder.ask(&query).await.unwrap();
            assert_eq!((found.answers.len(), count.load(Ordering::Relaxed)), (1, 1));
        }
        let nobody = Forwarder::new(Vec::new(), OWN, port);
        assert!(nobody.ask(&query).await.is_none());
    }
}
