//! What the proxy is told before it opens a port. Flags and files become a [`Config`]; nothing below reads the environment.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use agentrun_llm::provider::Hosts;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{hub::Hub, upstream::Origin};

/// Everything [`crate::Sidecar::start`] needs. `Config::default()` is a proxy for this machine with nothing kept on disk.
#[derive(Clone)]
pub struct Config {
    /// The hosts whose calls are read. All others are tunnelled untouched.
    pub hosts: Hosts,
    /// Where hosts are really answered; the first rule of a host counts.
    pub upstreams: Vec<UpstreamRule>,
    /// PEM files with roots to trust upstream beside the system's, and folders of such files. They are in the agents' bundle too.
    pub upstream_ca: Vec<PathBuf>,
    /// As [`Config::upstream_ca`], as text.
    pub upstream_ca_pem: Option<String>,
    /// Whom the certificate authority is for, in its subject: a pod's uid.
    pub authority_name: Option<String>,
    /// Look upstream names up by the name servers of this `resolv.conf`, past the lines of `/etc/hosts` that lead to loopback. `None`: as the
    /// system does, unless [`CaptureMode::Dns`] is on, which reads `/etc/resolv.conf`.
    pub resolv_conf: Option<PathBuf>,
    /// Proxies that upstream connections go through, from the environment.
    pub upstream_proxy: bool,
    /// The answer cache.
    pub cache: CacheConfig,
    /// The SQLite file that records are written to; `None` keeps totals only.
    pub journal: Option<PathBuf>,
    /// Whether the journal is asked for its records while it is written, as a gateway's is: they are found by their sessions then.
    pub asked: bool,
    /// How long the journal keeps its records, where it is asked for them while it is written; `None`: for ever.
    pub retention: Option<Retention>,
    /// The entrances that are open.
    pub capture: Vec<CaptureMode>,
    /// Bounds of every kind.
    pub limits: Limits,
    /// Answers instead of the network, for simulations.
    pub origin: Option<Arc<dyn Origin>>,
    /// Whom other pods share answers with; needs a runtime around [`crate::Sidecar::start`].
    pub hub: Option<Arc<Hub>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hosts: Hosts::builtin(),
            upstreams: Vec::new(),
            upstream_ca: Vec::new(),
            upstream_ca_pem: None,
            authority_name: None,
            resolv_conf: None,
            upstream_proxy: true,
            cache: CacheConfig::default(),
            journal: None,
            asked: false,
            retention: None,
            capture: vec![CaptureMode::Connect, CaptureMode::BaseUrl],
            limits: Limits::default(),
            origin: None,
            hub: None,
        }
    }
}

/// How the answer cache is kept.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// The SQLite file below memory; `None` keeps answers in memory only.
    pub path: Option<PathBuf>,
    /// Bytes of answers in memory; the least recently used go first.
    pub memory_bytes: u64,
    /// Bytes of answers on disk; the oldest go first.
    pub disk_bytes: u64,
    /// Whether AgentOpt's table in the same file is read and written too, and for whom. `None`: it is left alone.
    pub agentopt: Option<CacheScope>,
    /// How long an answer of ours is good for, in whole seconds; older ones are deleted. `None`: for ever.
    pub max_age: Option<Duration>,
}

/// Who may be given what stands in AgentOpt's table, whose keys know nothing of hosts and credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheScope {
    /// What AgentOpt itself wrote there is for anyone. An answer that we wrote is for calls to the same host with the same credential.
    Credential,
    /// As AgentOpt: whatever stands there is for anyone who asks the same of any host, with any credential or none.
    Legacy,
}

impl FromStr for CacheScope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "credential" => Ok(Self::Credential),
            "legacy" => Ok(Self::Legacy),
            other => Err(format!("`{other}` is no scope of the cache; use credential or legacy")),
        }
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { path: None, memory_bytes: 32 << 20, disk_bytes: 4 << 30, agentopt: None, max_age: None }
    }
}

/// How long records are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Since the call's end; `None` is for ever.
    pub age: Option<Duration>,
    /// At most so many, the newest.
    pub records: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { age: Some(Duration::from_secs(7 * 24 * 60 * 60)), records: 1_000_000 }
    }
}

/// What a session may do with stored answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheMode {
    /// Answer from the cache, store what was paid for.
    #[default]
    ReadWrite,
    /// Answer from the cache, store nothing.
    ReadOnly,
    /// Ask upstream every time, and store the answer over the old one.
    Refresh,
    /// Answer from the cache; a miss is an error and no network is used.
    ReplayOnly,
    /// Neither look nor store.
    Off,
}

impl Config {
    /// The file that names the name servers, where `/etc/hosts` is not to be believed blindly.
    pub(crate) fn name_servers(&self) -> Option<PathBuf> {
        let captured = || self.capture.contains(&CaptureMode::Dns).then(|| PathBuf::from("/etc/resolv.conf"));
        self.resolv_conf.clone().or_else(captured)
    }
}

impl CacheMode {
    /// Whether a stored answer may be given.
    pub fn reads(self) -> bool {
        matches!(self, Self::ReadWrite | Self::ReadOnly | Self::ReplayOnly)
    }

    /// Whether an answer that was paid for is stored.
    pub fn writes(self) -> bool {
        matches!(self, Self::ReadWrite | Self::Refresh)
    }
}

impl FromStr for CacheMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ReadWrite" => Ok(Self::ReadWrite),
            "ReadOnly" => Ok(Self::ReadOnly),
            "Refresh" => Ok(Self::Refresh),
            "ReplayOnly" => Ok(Self::ReplayOnly),
            "Off" => Ok(Self::Off),
            other => Err(format!("`{other}` is no cache mode; use ReadWrite, ReadOnly, Refresh, ReplayOnly or Off")),
        }
    }
}

/// An entrance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureMode {
    /// Proxy environment variables: CONNECT and absolute-form requests.
    Connect,
    /// `http://ADDRESS/HOST/...` in place of `https://HOST/...`.
    BaseUrl,
    /// TLS on a port that the names of LLM hosts were made to lead to. Upstream names are then looked up past the lines of `/etc/hosts` that do so.
    Dns,
}

impl FromStr for CaptureMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "connect" => Ok(Self::Connect),
            "base-url" => Ok(Self::BaseUrl),
            "dns" => Ok(Self::Dns),
            other => Err(format!("`{other}` is no capture layer of this proxy; use connect, dns or base-url")),
        }
    }
}

/// `HOST=URL`: calls to HOST are answered by URL.
///
/// Where URL names an IP address, only the connection goes there: SNI, certificate check and `Host` stay HOST's, as with
/// `curl --connect-to`. Where it names a host, that host is asked by its own name. A path in URL is put before the call's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamRule {
    /// The host as agents name it, lower case.
    pub host: String,
    /// `http` or `https`, host, port, and perhaps a path.
    pub url: Url,
}

impl FromStr for UpstreamRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, url) = text.split_once('=').ok_or_else(|| format!("`{text}` is not HOST=URL"))?;
        let url = Url::parse(url).map_err(|error| format!("`{url}` is not a URL ({error}); write http:// or https:// before the host"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(format!("`{url}` cannot answer calls; use an http:// or https:// URL"));
        }
        if host.is_empty() || host.contains('/') {
            return Err(format!("`{host}` is not a host name"));
        }
        Ok(Self { host: host.trim_end_matches('.').to_ascii_lowercase(), url })
    }
}

impl fmt::Display for UpstreamRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}={}", self.host, self.url)
    }
}

/// Bounds. Passing one is answered with a clear error, never with growth.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a request's head, or of an upstream answer's.
    pub head_bytes: usize,
    /// Bytes that a request's body may announce; more is refused with 413.
    pub request_bytes: u64,
    /// Bytes of a request or an answer that are read and cached; a larger one is passed on and recorded without its body.
    pub entry_bytes: usize,
    /// Bytes of all requests and answers that are read at a time. A request that does not fit waits; an answer that does not fit is passed on and
    /// recorded without its body.
    pub body_bytes: usize,
    /// Open client connections; further ones wait, all but one a port in the listen queue.
    pub connections: usize,
    /// Concurrent HTTP/2 streams of one client connection.
    pub streams: u32,
    /// For a client to send a request's head or a ClientHello; an idle connection is closed after it too, so it is longer than
    /// clients keep theirs.
    pub head_timeout: Duration,
    /// For an upstream connection to be made, TLS included.
    pub connect_timeout: Duration,
    /// From a request sent to the head of its answer.
    pub first_byte_timeout: Duration,
    /// Between two frames of an answer, or of a request's body.
    pub idle_timeout: Duration,
    /// How long an answer is read on after its client has gone, to learn its usage.
    pub drain_timeout: Duration,
    /// Bytes of records waiting for the disk before new calls wait too.
    pub journal_bytes: usize,
    /// Bytes that the journal's file may take where its records are shipped; beyond it new calls wait. `None`: nothing is shipped, and the
    /// journal grows.
    pub spool_bytes: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 128 << 10,
            request_bytes: 256 << 20,
            entry_bytes: 16 << 20,
            body_bytes: 512 << 20,
            connections: 8192,
            streams: 256,
            head_timeout: Duration::from_secs(120),
            connect_timeout: Duration::from_secs(10),
            first_byte_timeout: Duration::from_secs(600),
            idle_timeout: Duration::from_secs(300),
            drain_timeout: Duration::from_secs(60),
            journal_bytes: 16 << 20,
            spool_bytes: None,
        }
    }
}

impl Limits {
    /// Bounds under which the whole process stays within `memory` bytes, where that is less than it would take otherwise.
    ///
    /// Measured: a body that is read takes up to four times its size for a moment (its text, its tree, its key), a connection some 60 kB, and an
    /// idle process 12 MB. The cache has a bound of its own: an eighth of `memory` fits.
    pub fn within(memory: u64) -> Self {
        let usual = Self::default();
        let share = |part: u64, least: usize, most: usize| usize::try_from(memory / part).unwrap_or(most).clamp(least, most);
        Self {
            entry_bytes: share(16, 1 << 20, usual.entry_bytes),
            body_bytes: share(10, 2 << 20, usual.body_bytes),
            journal_bytes: share(16, 1 << 20, usual.journal_bytes),
            connections: share(128 << 10, 256, usual.connections),
            ..usual
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_shrink_with_memory_and_never_grow_beyond_the_usual() {
        let usual = Limits::default();
        for (memory, entry, body) in [(0, 1 << 20, 2 << 20), (80 << 20, 5 << 20, 8 << 20), (160 << 20, 10 << 20, 16 << 20)] {
            let limits = Limits::within(memory);
            assert_eq!((limits.entry_bytes, limits.body_bytes), (entry, body), "{memory}");
            assert!(limits.body_bytes >= limits.entry_bytes, "one body fits, so that none waits for ever");
        }
        let large = Limits::within(64 << 30);
        assert_eq!((large.entry_bytes, large.body_bytes, large.connections), (usual.entry_bytes, usual.body_bytes, usual.connections));
    }
}
