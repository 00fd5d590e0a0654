//! How a connection to an upstream is made: rules first, then the environment's proxy, then plain.

use std::{
    collections::HashMap,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::{
    client::{
        legacy::connect::{
            HttpConnector,
            dns::{GaiResolver, Name},
            proxy::Tunnel,
        },
        proxy::matcher::Matcher,
    },
    rt::TokioIo,
};
use thiserror::Error;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::{
    body::BodyError,
    config::UpstreamRule,
    resolve::Resolver,
    upstream::ourselves::{LeadsBack, Ourselves},
};

type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, BodyError>> + Send>>;

/// TCP to where a host is answered.
#[derive(Clone)]
pub(crate) struct Connector {
    tcp: Guarded,
    proxies: Option<Arc<Matcher>>,
    ruled: Arc<HashMap<String, SocketAddr>>,
}

impl Connector {
    /// With `proxied`, connections that no rule names go through the proxy of `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`.
    pub(crate) fn new(rules: &[UpstreamRule], proxied: bool, resolver: Option<Resolver>, ourselves: Arc<Ourselves>) -> Self {
        let ruled: Arc<HashMap<String, SocketAddr>> = Arc::new(rules.iter().rev().filter_map(address).collect());
        let others = resolver.map_or_else(|| Lookup::System(GaiResolver::new()), |resolver| Lookup::Servers(Arc::new(resolver)));
        let mut tcp = HttpConnector::new_with_resolver(Names { ruled: ruled.clone(), others });
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        let tcp = Guarded { tcp, ourselves };
        Self { tcp, proxies: proxied.then(|| Arc::new(Matcher::from_env())), ruled }
    }
}

fn address(rule: &UpstreamRule) -> Option<(String, SocketAddr)> {
    let ip = match rule.url.host()? {
        url::Host::Ipv4(ip) => ip.into(),
        url::Host::Ipv6(ip) => ip.into(),
        url::Host::Domain(_) => return None,
    };
    Some((rule.host.clone(), SocketAddr::new(ip, rule.url.port_or_known_default()?)))
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = BodyError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut uri: Uri) -> Self::Future {
        let ruled = uri.host().is_some_and(|host| self.ruled.contains_key(host));
        if ruled {
            uri = without_port(uri);
        }
        let proxy = self.proxies.as_ref().filter(|_| !ruled).and_then(|proxies| proxies.intercept(&uri));
        let Some(proxy) = proxy else {
            return self.tcp.call(uri);
        };
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.tcp.clone());
        if let Some(authorization) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        let connecting = tunnel.call(uri);
        Box::pin(async move { connecting.await.map_err(Into::into) })
    }
}

/// A port that is named would win over the rule's.
fn without_port(uri: Uri) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.authority = uri.host().and_then(|host| host.parse().ok());
    Uri::from_parts(parts).unwrap_or(uri)
}

/// TCP that never leads back to this proxy: a host whose name was made to lead here, for the agents' sake, would be asked in a circle.
#[derive(Clone)]
struct Guarded {
    tcp: HttpConnector<Names>,
    ourselves: Arc<Ourselves>,
}

impl Service<Uri> for Guarded {
    type Response = TokioIo<TcpStream>;
    type Error = BodyError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.tcp.call(uri);
        let ourselves = self.ourselves.clone();
        Box::pin(async move {
            let stream = connecting.await?;
            // Looked at when it is open: names, addresses, rules and proxies all come by here.
            match ourselves.at_the_end_of(stream.inner()) {
                Some(address) => Err(LeadsBack(address).into()),
                None => Ok(stream),
            }
        })
    }
}

/// Names that rules give an address, then those of name servers or of the system.
#[derive(Clone)]
struct Names {
    ruled: Arc<HashMap<String, SocketAddr>>,
    others: Lookup,
}

#[derive(Clone)]
enum Lookup {
    /// As every program of this machine does, `/etc/hosts` first.
    System(GaiResolver),
    /// By name servers alone.
    Servers(Arc<Resolver>),
}

impl Service<Name> for Names {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BodyError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        if let Some(address) = self.ruled.get(name.as_str()) {
            let addresses = vec![*address].into_iter();
            return Box::pin(async move { Ok(addresses) });
        }
        match &mut self.others {
            Lookup::System(system) => {
                let resolving = system.call(name);
                Box::pin(async move { Ok(resolving.await?.collect::<Vec<_>>().into_iter()) })
            }
            Lookup::Servers(servers) => {
                let servers = servers.clone();
                Box::pin(async move {
                    let addresses = servers.addresses(name.as_str()).await?;
                    // Port 0 stands for the URL's.
                    Ok(addresses.into_iter().map(|address| SocketAddr::new(address, 0)).collect::<Vec<_>>().into_iter())
                })
            }
        }
    }
}

/// A connector that gives up after a time, TLS included.
#[derive(Clone)]
pub(crate) struct Connect<C> {
    inner: C,
    after: Duration,
}

/// The connection was not made in time.
#[derive(Debug, Error)]
#[error("timed out")]
pub(crate) struct TimedOut;

impl<C> Connect<C> {
    pub(crate) fn new(inner: C, after: Duration) -> Self {
        Self { inner, after }
    }
}

impl<C> Service<Uri> for Connect<C>
where
    C: Service<Uri>,
    C::Error: Into<BodyError>,
    C::Future: Send + 'static,
    C::Response: Send + 'static,
{
    type Response = C::Response;
    type Error = BodyError;
    type Future = Connecting<C::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.inner.call(uri);
        let after = self.after;
        Box::pin(async move {
            match tokio::time::timeout(after, connecting).await {
                Err(_) => Err(TimedOut.into()),
                Ok(connected) => connected.map_err(Into::into),
            }
        })
    }
}
