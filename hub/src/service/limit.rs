//! As many connections as may be, and no more: one above is closed before its handshake.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
};

use axum_server::accept::Accept;
use futures::{FutureExt, future::BoxFuture};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_service::Service;

use crate::api::State;

/// Accepts what `inner` accepts, while there is room.
#[derive(Clone)]
pub(super) struct Limited<A> {
    inner: A,
    room: Arc<Semaphore>,
    state: Arc<State>,
}

impl<A> Limited<A> {
    pub(super) fn new(inner: A, connections: usize, state: Arc<State>) -> Self {
        Self { inner, room: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))), state }
    }
}

/// A connection's place, given back when its service goes.
struct Place {
    state: Arc<State>,
    _room: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.state.metrics.connections.dec();
    }
}

/// A connection's service, and its place.
#[derive(Clone)]
pub(super) struct Placed<S> {
    inner: S,
    _place: Arc<Place>,
}

impl<R, S: Service<R>> Service<R> for Placed<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.inner.call(request)
    }
}

impl<I, S, A> Accept<I, S> for Limited<A>
where
    A: Accept<I, S>,
    A::Future: Send + 'static,
    A::Stream: 'static,
    A::Service: 'static,
{
    type Stream = A::Stream;
    type Service = Placed<A::Service>;
    type Future = BoxFuture<'static, io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let Ok(room) = self.room.clone().try_acquire_owned() else {
            self.state.metrics.refused_connections.inc();
            return async { Err(io::Error::other("too many connections")) }.boxed();
        };
        self.state.metrics.connections.inc();
        let place = Arc::new(Place { state: self.state.clone(), _room: room });
        let accepting = self.inner.accept(stream, service);
        async move {
            let (stream, inner) = accepting.await?;
            Ok((stream, Placed { inner, _place: place }))
        }
        .boxed()
    }
}
