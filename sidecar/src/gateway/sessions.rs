//! The sessions that clients open: a port for each.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Extension,
    body::Body,
    extract::{Path, State as Shared},
    response::Response,
};
use http::StatusCode;
use serde_json::json;

use super::{
    State, answer,
    body::{self, Members},
    id, policy,
    refusal::Refusal,
};
use crate::{CacheMode, OpenSession, Session, Sidecar};

/// As many sessions as may be open at a time. Each has a port and a file descriptor.
const SESSIONS: usize = 10_000;
/// How long calls in flight may go on after their session was closed: longer than the slowest model answers.
const GRACE: Duration = Duration::from_secs(600);
/// How long whoever closes a session waits for its calls in flight, so that they are in the records it asks for next.
const WAIT: Duration = Duration::from_secs(2);
/// A session without any connection for so long was forgotten.
const IDLE: Duration = Duration::from_secs(24 * 60 * 60);

/// Who asks.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// The open sessions, by their ids.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<String, OpenSession>>);

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, OpenSession>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the sessions that nobody has used for a day.
    pub(super) fn close_idle(&self, sidecar: &Sidecar) {
        self.close_unused(sidecar, IDLE);
    }

    fn close_unused(&self, sidecar: &Sidecar, since: Duration) {
        let forgotten: Vec<_> = self.lock().extract_if(|_, session| session.idle_for() >= since).collect();
        for (id, session) in forgotten {
            tracing::info!(id, "a session is closed: nobody has been connected to it for a day");
            sidecar.proxy.metrics.sessions.dec();
            tokio::spawn(session.close(GRACE));
        }
    }
}

/// `POST /sessions`: opens a port for the calls of one session, and takes connections when this is answered.
pub(super) async fn open(Shared(state): Shared<Arc<State>>, Extension(peer): Extension<Peer>, body: Body) -> Result<Response, Refusal> {
    let members = body::members(body, true).await?;
    let kept = |name: &str| members.written(name).map_or(Ok(None), |written| id::kept(name, written));
    let router = match members.written("router") {
        Some(written) => policy::router(written)?,
        None => state.session.router.clone(),
    };
    let session = Session {
        run: Some(state.records.run(kept("run")?.as_deref())),
        data_id: kept("data_id")?.or_else(|| state.session.data_id.clone()),
        combo_id: kept("combo_id")?.or_else(|| state.session.combo_id.clone()),
        agent_id: kept("agent_id")?.or_else(|| state.session.agent_id.clone()),
        cache: cache(&members)?.unwrap_or(state.session.cache),
        client: Some(peer.0),
        router,
        ..state.session.clone()
    };
    if state.sessions.lock().len() >= SESSIONS {
        return Err(Refusal::TooMany(SESSIONS));
    }
    // The client knows this host's name alone, so the port is where the control plane is.
    let session = state.sidecar.open_at(state.address.ip(), session).await?;
    let port = session.address().port();
    let id = enter(&mut state.sessions.lock(), session);
    state.sidecar.proxy.metrics.sessions.inc();
    Ok(answer(&json!({"session_id": id, "proxy_port": port, "ca_pem_b64": state.certificate()})))
}

/// What the session may do with stored answers, where it says so.
fn cache(members: &Members) -> Result<Option<CacheMode>, Refusal> {
    let named: Option<String> = members.optional("cache", "a cache mode")?;
    named.map(|named| named.parse().map_err(|reason| Refusal::Mistake(format!("`cache`: {reason}")))).transpose()
}

/// Enters a session under an id that no other has.
fn enter(sessions: &mut HashMap<String, OpenSession>, session: OpenSession) -> String {
    loop {
        let random = uuid::Uuid::now_v7().as_u128() & 0xffff_ffff_ffff;
        let id = format!("sess_{random:012x}");
        if let Entry::Vacant(vacant) = sessions.entry(id.clone()) {
            vacant.insert(session);
            return id;
        }
    }
}

/// `DELETE /sessions/{id}`: closes the port at once. Calls in flight end, are recorded, and are waited for a moment. One that is not there is
/// closed already.
pub(super) async fn close(Shared(state): Shared<Arc<State>>, Path(id): Path<String>) -> StatusCode {
    let session = state.sessions.lock().remove(&id);
    if let Some(session) = session {
        state.sidecar.proxy.metrics.sessions.dec();
        let closing = tokio::spawn(session.close(GRACE));
        tokio::time::timeout(WAIT, closing).await.ok();
    }
    StatusCode::NO_CONTENT
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;
    use crate::{CacheConfig, Config};

    #[tokio::test]
    async fn a_session_that_nobody_is_connected_to_is_forgotten() {
        let config =
            Config { upstream_proxy: false, cache: CacheConfig { memory_bytes: 1 << 20, ..CacheConfig::default() }, ..Config::default() };
        let sidecar = Sidecar::start(config).unwrap();
        let sessions = Sessions::default();
        let (idle, used) = (sidecar.open(Session::default()).await.unwrap(), sidecar.open(Session::default()).await.unwrap());
        let connection = TcpStream::connect(used.address()).await.unwrap();
        while !used.idle_for().is_zero() {
            tokio::task::yield_now().await;
        }
        let ids = [idle, used].map(|session| enter(&mut sessions.lock(), session));
        sessions.close_unused(&sidecar, Duration::from_secs(3600));
        assert_eq!(sessions.lock().len(), 2);
        sessions.close_unused(&sidecar, Duration::from_nanos(1));
        assert_eq!(sessions.lock().keys().collect::<Vec<_>>(), [&ids[1]]);
        drop(connection);
        while sessions.lock().values().any(|session| session.idle_for().is_zero()) {
            tokio::task::yield_now().await;
        }
        sessions.close_unused(&sidecar, Duration::from_nanos(1));
        assert!(sessions.lock().is_empty());
    }
}
