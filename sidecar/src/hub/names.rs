//! The hub's addresses, from the pod's name servers: `/etc/hosts` may have been written by whoever made the pod.

use std::{
    future::Future,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    vec,
};

use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

use crate::resolve::{ResolveError, Resolver};

/// Looks names up.
#[derive(Clone)]
pub(super) struct Names(Arc<Resolver>);

impl Names {
    pub(super) fn new() -> Self {
        Self(Arc::new(Resolver::new(Path::new("/etc/resolv.conf"))))
    }
}

impl Service<Name> for Names {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = ResolveError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ResolveError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.0.clone();
        Box::pin(async move {
            let addresses = resolver.addresses(name.as_str()).await?;
            // The connector knows the port.
            Ok(addresses.into_iter().map(|address| SocketAddr::new(address, 0)).collect::<Vec<_>>().into_iter())
        })
    }
}
