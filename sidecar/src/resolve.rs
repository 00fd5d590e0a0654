//! Names to addresses by the name servers of `resolv.conf`, past the lines of `/etc/hosts` that lead to this proxy.
//!
//! Where that file leads LLM hosts to this proxy, for the agents' sake, it does so for the proxy as well, which would then call itself. What
//! else a pod's author has put there is meant: a gateway's address, a host that no name server knows.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ResolveHosts, ResolverConfig, ResolverOpts},
    lookup::Lookup,
    net::{NetError, runtime::TokioRuntimeProvider},
    system_conf::parse_resolv_conf,
};
use thiserror::Error;

/// For one name with all that is tried for it: search domains, servers, retries. Shorter than a connection may take, so that the error is
/// this one.
const ALL: Duration = Duration::from_secs(8);
/// For one question to one server; a lost datagram is asked again after it.
const QUESTION: Duration = Duration::from_secs(2);
/// For AAAA once A has been answered: a server that drops AAAA costs no more than this (RFC 8305, section 3).
const GRACE: Duration = Duration::from_millis(50);
/// Answers are kept so long, whatever their TTL says.
const KEPT: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(300)];
/// As [`KEPT`], for names without addresses.
const MISSING_KEPT: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];
/// Answers that are kept.
const ANSWERS: u64 = 256;

/// Why a name has no address.
#[derive(Clone, Debug, Error)]
pub(crate) enum ResolveError {
    #[error("read {path}, which names the name servers: {reason}")]
    Config { path: String, reason: String },
    #[error("`{0}` is not a host name")]
    Name(String),
    #[error("there is no host {0}")]
    Missing(String),
    #[error("the host {0} has no IP address")]
    NoAddress(String),
    #[error("ask the name servers of {path} for {name}: {reason}")]
    Servers { name: String, path: String, reason: String },
    #[error("the name servers of {path} did not answer for {name} within {} s", ALL.as_secs())]
    Silent { name: String, path: String },
}

/// Asks the name servers of one file, with its search domains.
pub(crate) struct Resolver {
    path: PathBuf,
    aliases: HashMap<String, Vec<IpAddr>>,
    /// A file that cannot be used is an error of each name and not of the start: calls that need no name still work.
    servers: Result<TokioResolver, String>,
}

impl Resolver {
    /// Of a `resolv.conf`.
    pub(crate) fn new(path: &Path) -> Self {
        let servers = std::fs::read(path).map_err(|error| error.to_string());
        let servers = servers.and_then(|text| parse_resolv_conf(text).map_err(|error| error.to_string()));
        let servers = servers.and_then(|(config, options)| build(config, options));
        if let Err(reason) = &servers {
            tracing::warn!(path = %path.display(), reason, "no name servers: names cannot be resolved");
        }
        Self { path: path.to_owned(), aliases: HashMap::new(), servers }
    }

    /// With what a hosts file says beside loopback. A file that cannot be read says nothing.
    pub(crate) fn with_hosts(mut self, path: &Path) -> Self {
        let text = std::fs::read(path).unwrap_or_default();
        self.aliases = aliases(&String::from_utf8_lossy(&text));
        self
    }

    /// The addresses of `name`, IPv4 first: a pod may have no way to the others, and their turn comes where the first cannot be reached.
    pub(crate) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        let bare = name.trim_end_matches('.');
        if bare.eq_ignore_ascii_case("localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        if let Some(addresses) = self.aliases.get(&bare.to_ascii_lowercase()) {
            return Ok(addresses.clone());
        }
        let path = || self.path.display().to_string();
        let servers = self.servers.as_ref().map_err(|reason| ResolveError::Config { path: path(), reason: reason.clone() })?;
        // The servers are never asked for what cannot be a host.
        let labels = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if bare.is_empty()
            || bare.len() > 253
            || !bare.bytes().all(labels)
            || bare.split('.').any(|label| label.is_empty() || label.len() > 63)
        {
            return Err(ResolveError::Name(name.chars().take(100).collect()));
        }
        let found = tokio::time::timeout(ALL, both(servers, name)).await;
        let found = found.map_err(|_| ResolveError::Silent { name: bare.to_owned(), path: path() })?;
        match found {
            Ok(addresses) if addresses.is_empty() => Err(ResolveError::NoAddress(bare.to_owned())),
            Ok(addresses) => Ok(addresses),
            Err(error) if error.is_nx_domain() => Err(ResolveError::Missing(bare.to_owned())),
            Err(error) if error.is_no_records_found() => Err(ResolveError::NoAddress(bare.to_owned())),
            Err(NetError::Timeout) => Err(ResolveError::Silent { name: bare.to_owned(), path: path() }),
            Err(error) => Err(ResolveError::Servers { name: bare.to_owned(), path: path(), reason: error.to_string() }),
        }
    }
}

/// The names of a hosts file (hosts(5)), lower case, and their addresses that do not lead to this machine itself, IPv4 first.
fn aliases(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut aliases = HashMap::<String, Vec<IpAddr>>::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
        if address.to_canonical().is_loopback() || address.is_unspecified() {
            continue;
        }
        for name in words {
            aliases.entry(name.trim_end_matches('.').to_ascii_lowercase()).or_default().push(address);
        }
    }
    aliases.values_mut().for_each(|addresses| addresses.sort_by_key(IpAddr::is_ipv6));
    aliases
}

fn build(mut config: ResolverConfig, mut options: ResolverOpts) -> Result<TokioResolver, String> {
    if !config.search.is_empty() {
        // Taken from the machine's own name; as for glibc it counts only where the file has no search list.
        config.domain = None;
    }
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = options.timeout.min(QUESTION);
    options.cache_size = ANSWERS;
    [options.positive_min_ttl, options.positive_max_ttl] = KEPT.map(Some);
    [options.negative_min_ttl, options.negative_max_ttl] = MISSING_KEPT.map(Some);
    let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options);
    builder.build().map_err(|error| error.to_string())
}

/// Asks for A and AAAA at once, and waits for AAAA no longer than it may be of use.
async fn both(servers: &TokioResolver, name: &str) -> Result<Vec<IpAddr>, NetError> {
    let (four, six) = (servers.ipv4_lookup(name), servers.ipv6_lookup(name));
    tokio::pin!(four, six);
    let mut early = None;
    let four = loop {
        tokio::select! {
            found = &mut four => break found,
            found = &mut six, if early.is_none() => early = Some(found),
        }
    };
    let mut addresses = four.as_ref().map(listed).unwrap_or_default();
    let six = match early {
        Some(found) => found,
        None if addresses.is_empty() => six.await,
        None => tokio::time::timeout(GRACE, six).await.unwrap_or(Err(NetError::Timeout)),
    };
    addresses.extend(six.as_ref().map(listed).unwrap_or_default());
    match (four, six) {
        // Of two failures the one that says least about the name is told: a server that was silent may have known it.
        (Err(four), Err(six)) if addresses.is_empty() => Err(if four.is_no_records_found() { six } else { four }),
        _ => Ok(addresses),
    }
}

fn listed(lookup: &Lookup) -> Vec<IpAddr> {
    lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use hickory_resolver::proto::{
        op::{Message, ResponseCode},
        rr::{RData, Record, RecordType},
    };
    use tokio::net::UdpSocket;

    use super::*;

    /// Name, A, AAAA.
    const ZONE: [(&str, Option<&str>, Option<&str>); 6] = [
        ("both.test.", Some("192.0.2.1"), Some("2001:db8::1")),
        ("four.test.", Some("192.0.2.4"), None),
        ("six.test.", None, Some("2001:db8::6")),
        ("empty.test.", None, None),
        ("half-deaf.test.", Some("192.0.2.7"), None),
        ("db.run.svc.cluster.local.", Some("192.0.2.9"), None),
    ];

    type Questions = Arc<Mutex<Vec<(String, RecordType)>>>;

    /// A name server on a free port, a resolver that asks it, and what it was asked.
    async fn served() -> (Resolver, Questions) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let questions = Questions::default();
        let asked = questions.clone();
        tokio::spawn(async move {
            let mut datagram = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut datagram).await {
                let question = Message::from_vec(&datagram[..length]).unwrap();
                let (name, kind) = (question.queries[0].name().to_string().to_lowercase(), question.queries[0].query_type());
                asked.lock().unwrap().push((name.clone(), kind));
                if let Some(answer) = answer(question, &name, kind) {
                    socket.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
                }
            }
        });
        let text = "nameserver 127.0.0.1\nsearch run.svc.cluster.local svc.cluster.local\noptions ndots:5 timeout:60\n";
        let (mut config, options) = parse_resolv_conf(text).unwrap();
        for connection in config.name_servers.iter_mut().flat_map(|server| &mut server.connections) {
            connection.port = port;
        }
        (Resolver { path: "resolv.conf".into(), aliases: HashMap::new(), servers: build(config, options) }, questions)
    }

    fn answer(question: Message, name: &str, kind: RecordType) -> Option<Message> {
        let queried = question.queries[0].name().clone();
        let mut answer = question.into_response();
        let known = ZONE.iter().find(|(known, ..)| *known == name);
        let address = match kind {
            RecordType::AAAA if name == "half-deaf.test." => return None,
            RecordType::A => known.and_then(|(_, four, _)| *four),
            _ => known.and_then(|(.., six)| *six),
        };
        if let Some(address) = address {
            let data = RData::from(address.parse::<IpAddr>().unwrap());
            answer.add_answer(Record::from_rdata(queried, 60, data));
        }
        answer.metadata.response_code = match known {
            Some(_) => ResponseCode::NoError,
            None if name.starts_with("broken.") => ResponseCode::ServFail,
            None => ResponseCode::NXDomain,
        };
        Some(answer)
    }

    #[tokio::test]
    async fn names_have_their_addresses_ipv4_first() {
        let (resolver, _) = served().await;
        let table = [
            ("both.test", "192.0.2.1 2001:db8::1"),
            ("both.test.", "192.0.2.1 2001:db8::1"),
            ("FOUR.Test", "192.0.2.4"),
            ("six.test", "2001:db8::6"),
            ("db", "192.0.2.9"),
            ("localhost", "127.0.0.1 ::1"),
            ("198.51.100.3", "198.51.100.3"),
            ("2001:db8::3", "2001:db8::3"),
        ];
        for (name, expected) in table {
            let found = resolver.addresses(name).await.unwrap();
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), expected, "{name}");
        }
    }

    #[test]
    fn a_hosts_file_counts_where_it_does_not_lead_here() {
        let text = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n10.1.2.3\ttrial-pod\n\
                    # Entries added by HostAliases.\n127.0.0.1\tapi.openai.com\tapi.anthropic.com\n::ffff:127.0.0.1 mapped.test\n\
                    2001:db8::7 Gateway.Test. other.test # a comment other2.test\r\n192.0.2.7\tgateway.test\n\
                    192.0.2.8 api.openai.com\nnonsense here.test\n192.0.2.9\n0.0.0.0 zero.test";
        let found = aliases(text);
        let told = |name: &str| found.get(name).map(|addresses| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        let table = [
            ("gateway.test", Some("192.0.2.7 2001:db8::7")),
            ("other.test", Some("2001:db8::7")),
            ("trial-pod", Some("10.1.2.3")),
            ("api.openai.com", Some("192.0.2.8")),
            ("api.anthropic.com", None),
            ("localhost", None),
            ("mapped.test", None),
            ("other2.test", None),
            ("here.test", None),
            ("zero.test", None),
        ];
        for (name, expected) in table {
            assert_eq!(told(name).as_deref(), expected, "{name}");
        }
    }

    #[tokio::test]
    async fn failures_say_what_failed() {
        let (resolver, questions) = served().await;
        let long = "a".repeat(64) + ".test";
        let table = [
            ("none.test", "there is no host none.test"),
            ("empty.test", "the host empty.test has no IP address"),
            ("broken.test", "ask the name servers of resolv.conf for broken.test: "),
        ];
        for (name, expected) in table {
            let error = resolver.addresses(name).await.unwrap_err().to_string();
            assert!(error.starts_with(expected), "{name}: {error}");
        }
        let asked = questions.lock().unwrap().len();
        for name in ["", ".", "a..test", "a b", "ä.test", "a/b", long.as_str(), &"a.".repeat(200)] {
            let error = resolver.addresses(name).await.unwrap_err().to_string();
            assert!(error.ends_with("is not a host name"), "{name}: {error}");
        }
        assert_eq!(questions.lock().unwrap().len(), asked, "what is no name is nobody's question");
        let error = Resolver::new(Path::new("/nonexistent/resolv.conf")).addresses("four.test").await.unwrap_err().to_string();
        assert!(error.starts_with("read /nonexistent/resolv.conf, which names the name servers: "), "{error}");
    }

    #[tokio::test]
    async fn answers_are_kept_and_a_server_that_drops_aaaa_is_not_asked_again_and_again() {
        let (resolver, questions) = served().await;
        for _ in 0..3 {
            resolver.addresses("half-deaf.test.").await.unwrap();
            resolver.addresses("both.test.").await.unwrap();
        }
        let count = |name: &str, kind| questions.lock().unwrap().iter().filter(|asked| **asked == (name.to_owned(), kind)).count();
        assert_eq!([count("both.test.", RecordType::A), count("both.test.", RecordType::AAAA)], [1, 1]);
        assert_eq!(count("half-deaf.test.", RecordType::A), 1);
        assert_eq!(count("half-deaf.test.", RecordType::AAAA), 3, "one question a lookup: none was waited for and repeated");
    }
}
