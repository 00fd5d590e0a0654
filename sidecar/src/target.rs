//! Whom a request is for, by any entrance.

use agentrun_llm::call::Capture;
use http::{
    HeaderMap, Request, Uri, header,
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::{error::Refusal, front::Connection};

/// `SCHEME://HOST:PORT/PATH` of a request, apart.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) scheme: Scheme,
    /// Lower case, without port or trailing dot.
    pub(crate) host: String,
    /// The port, where it is not the scheme's own.
    pub(crate) port: Option<u16>,
    pub(crate) path: PathAndQuery,
    pub(crate) capture: Capture,
}

impl Target {
    /// Reads the target of `request`, and refuses one for another host than its connection was opened for.
    pub(crate) fn of<B>(connection: &Connection, request: &Request<B>) -> Result<Self, Refusal> {
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let named = request.uri().authority().cloned().or_else(|| host_header(request.headers()));
        if let Some(opened) = &connection.opened_for {
            return opened.agreeing(named, path);
        }
        match (request.uri().scheme(), named) {
            (Some(scheme), Some(authority)) => {
                let (host, port) = split(&authority);
                Ok(Self {
                    port: port.filter(|&port| Some(port) != default_port(scheme)),
                    scheme: scheme.clone(),
                    host,
                    path,
                    capture: Capture::Connect,
                })
            }
            _ => from_base_url(connection, &path),
        }
    }

    /// The URL to send the request to.
    pub(crate) fn uri(&self, path: &str) -> Result<Uri, http::Error> {
        Uri::builder().scheme(self.scheme.clone()).authority(self.authority()).path_and_query(path).build()
    }

    /// `HOST`, or `HOST:PORT` where the port is not the scheme's own.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match self.port {
            Some(port) => format!("{host}:{port}"),
            None => host,
        }
    }

    /// The URL as the client named it.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority(), self.path)
    }
}

/// The host and port that a connection was opened for: by CONNECT, and by SNI inside it.
#[derive(Clone, Debug)]
pub(crate) struct OpenedFor {
    pub(crate) scheme: Scheme,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) capture: Capture,
    /// CONNECT and SNI named different hosts: nothing inside is answered.
    pub(crate) disagreement: Option<String>,
}

impl OpenedFor {
    /// What a refused request is recorded as having asked for.
    pub(crate) fn target(&self, uri: &Uri) -> Target {
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let port = Some(self.port).filter(|&port| Some(port) != default_port(&self.scheme));
        Target { scheme: self.scheme.clone(), host: self.host.clone(), port, path, capture: self.capture }
    }

    /// A request inside the connection must be for its host: HTTP/2 could otherwise ask any host through it.
    fn agreeing(&self, named: Option<Authority>, path: PathAndQuery) -> Result<Target, Refusal> {
        if let Some(sni) = &self.disagreement {
            return Err(Refusal::Misdirected { opened: self.host.clone(), asked: sni.clone() });
        }
        if let Some(named) = named {
            let (host, port) = split(&named);
            if host != self.host || port.is_some_and(|port| port != self.port) {
                return Err(Refusal::Misdirected { opened: self.host.clone(), asked: named.to_string() });
            }
        }
        let port = Some(self.port).filter(|&port| Some(port) != default_port(&self.scheme));
        Ok(Target { scheme: self.scheme.clone(), host: self.host.clone(), port, path, capture: self.capture })
    }
}

/// `/HOST[:PORT]/PATH`: what a base URL of `http://ADDRESS/HOST` makes of a path.
fn from_base_url(connection: &Connection, path: &PathAndQuery) -> Result<Target, Refusal> {
    let rest = path.as_str().strip_prefix('/').ok_or(Refusal::NoHost)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let authority: Authority = rest[..end].parse().map_err(|_| Refusal::NoHost)?;
    let (host, port) = split(&authority);
    let hosts = connection.proxy.hosts();
    let provider = hosts.find(&host).ok_or(Refusal::NoHost)?;
    if !connection.proxy.open_to_base_url {
        return Err(Refusal::EntranceClosed("base-url"));
    }
    let path = match &rest[end..] {
        "" => PathAndQuery::from_static("/"),
        rest if rest.starts_with('?') => format!("/{rest}").parse().map_err(|_| Refusal::NoHost)?,
        rest => rest.parse().map_err(|_| Refusal::NoHost)?,
    };
    let scheme = if provider.plain { Scheme::HTTP } else { Scheme::HTTPS };
    let port = port.or(provider.port).filter(|&port| Some(port) != default_port(&scheme));
    Ok(Target { scheme, host, port, path, capture: Capture::BaseUrl })
}

/// Host (lower case, without brackets and trailing dot) and port of an authority.
pub(crate) fn split(authority: &Authority) -> (String, Option<u16>) {
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    (host.to_ascii_lowercase(), authority.port_u16())
}

/// The port that a scheme means without saying it.
pub(crate) fn default_port(scheme: &Scheme) -> Option<u16> {
    match scheme.as_str() {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    }
}

fn host_header(headers: &HeaderMap) -> Option<Authority> {
    headers.get(header::HOST)?.to_str().ok()?.parse().ok()
}
