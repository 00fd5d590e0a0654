//! The hub's HTTP API: [`agentrun_protocol::paths`] says which requests there are. Callers are known before a byte of a body is read.

mod body;
mod cache;
mod caller;
mod params;
mod pod;
mod refusal;
mod runs;
mod scoring;

use std::{sync::Arc, time::Duration};

use agentrun_protocol::paths;
use axum::{
    Router,
    extract::{MatchedPath, Request, State as Shared},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use quick_cache::sync::Cache;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    archive::{Archive, AttemptId, RunId, Scope},
    auth::Authenticator,
    lease::{Bounds, Leases},
    metrics::Metrics,
};
use body::Room;
use refusal::Refusal;
use runs::Part;

/// The longest that a request takes, what waits for a leader included.
const LONGEST: Duration = Duration::from_secs(90);
/// Pods whose attempt is remembered.
const ATTEMPTS: usize = 65_536;

/// What a pod's requests belong to.
#[derive(Clone, Debug)]
struct Attempt {
    run: RunId,
    id: AttemptId,
    scope: Scope,
}

/// What all requests share.
pub(crate) struct State {
    pub(crate) archive: Archive,
    pub(crate) leases: Leases<(Scope, [u8; 32])>,
    pub(crate) metrics: Metrics,
    /// Cancelled when the hub is about to stop: nobody waits for a leader any more.
    pub(crate) closing: CancellationToken,
    authenticator: Authenticator,
    /// By the pod's uid.
    attempts: Cache<String, Attempt>,
    room: Room,
}

impl State {
    /// `grace`: before it, no lease is given. `body_bytes`: the most that bodies hold in memory at once.
    pub(crate) fn new(archive: Archive, authenticator: Authenticator, bounds: Bounds, grace: Instant, body_bytes: usize) -> Self {
        Self {
            archive,
            leases: Leases::new(bounds, grace),
            metrics: Metrics::default(),
            closing: CancellationToken::new(),
            authenticator,
            attempts: Cache::new(ATTEMPTS),
            room: Room::new(body_bytes),
        }
    }
}

type Answer = Result<Response, Refusal>;

/// All routes.
pub(crate) fn routes(state: Arc<State>) -> Router {
    Router::new()
        .route(paths::TRIAL, get(pod::trial))
        .route(paths::TRIAL_RECORDS, post(pod::records))
        .route(paths::TRIAL_OUTPUT, put(pod::output))
        .route(paths::TRIAL_END, post(pod::end))
        .route(&format!("{}{{key}}", paths::CACHE), get(cache::find).put(cache::store).delete(cache::give_up))
        .route(paths::LEASES, post(cache::renew))
        .route(paths::SCORE_ITEMS, get(scoring::items))
        .route(paths::SCORES, post(scoring::scores))
        .route(paths::RUNS, get(runs::list))
        .route(&paths::run("{namespace}", "{name}"), get(runs::run).put(runs::register).delete(runs::delete))
        .route(&paths::run("{namespace}", "{name}/observe"), post(runs::observe))
        .route(&paths::run("{namespace}", "{name}/calls"), runs::pages(Part::Calls))
        .route(&paths::run("{namespace}", "{name}/trials"), runs::pages(Part::Trials))
        .route(&paths::run("{namespace}", "{name}/results"), runs::pages(Part::Results))
        .method_not_allowed_fallback(async || Refusal::bad_method())
        .route_layer(middleware::from_fn_with_state(state.clone(), authenticate))
        .route_layer(middleware::from_fn_with_state(state.clone(), account))
        .fallback(async || Refusal::no_such_path())
        .with_state(state)
}

/// Lets in whom the API server knows.
async fn authenticate(Shared(state): Shared<Arc<State>>, mut request: Request, next: Next) -> Answer {
    let known = match caller::token(request.headers()) {
        Ok(token) => state.authenticator.caller(token).await,
        Err(error) => Err(error),
    };
    state.metrics.authenticated(known.is_ok());
    request.extensions_mut().insert(known?);
    Ok(next.run(request).await)
}

/// Counts requests, ends those that take for ever, and logs what is the hub's own fault.
async fn account(Shared(state): Shared<Arc<State>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or_else(String::new, |path| path.as_str().to_owned());
    let method = request.method().clone();
    let began = Instant::now();
    let answered = tokio::time::timeout(LONGEST, next.run(request)).await;
    let response = answered.unwrap_or_else(|_| Refusal::too_slow(LONGEST).into_response());
    state.metrics.answered(&method, &path, response.status(), began.elapsed());
    if response.status().is_server_error() {
        let problem = response.extensions().get::<refusal::Sentence>().map_or("", |sentence| sentence.0.as_str());
        tracing::warn!(%method, path, status = response.status().as_u16(), problem, "a request failed");
    }
    response
}
