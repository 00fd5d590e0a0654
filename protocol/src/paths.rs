//! Paths of the hub's API. Everything is HTTPS on one port; the caller's token says who is asking.
//!
//! Tokens come as `Authorization: Bearer TOKEN`, or, through the API server's service proxy, which eats that header, as
//! `Agentrun-Authorization: Bearer TOKEN`. Errors are `{"error": SENTENCE}` with a 4xx or 5xx status.

/// The header that carries the token through the API server's service proxy.
pub const AUTHORIZATION_HEADER: &str = "agentrun-authorization";

/// GET, a pod: [`crate::trial::Assignment`].
pub const TRIAL: &str = "/v1/trial";
/// POST, a pod: records as JSON lines; see [`crate::trial::FIRST_SEQUENCE_HEADER`]. Answer: [`crate::trial::Acknowledged`].
pub const TRIAL_RECORDS: &str = "/v1/trial/records";
/// PUT, a pod: the output's bytes so far, raw, up to the assignment's limit. A later one replaces the earlier until the trial's end.
pub const TRIAL_OUTPUT: &str = "/v1/trial/output";
/// POST, a pod: [`crate::trial::End`], once all records are acknowledged. Idempotent. Answer: 204.
pub const TRIAL_END: &str = "/v1/trial/end";

/// GET, PUT, DELETE, a pod, with a key in hex at the end: see [`crate::lease`].
pub const CACHE: &str = "/v1/cache/";
/// POST, a pod: [`crate::lease::Renewal`]. Answer: [`crate::lease::Renewed`].
pub const LEASES: &str = "/v1/leases";

/// GET, a scoring pod, with `?after=N&limit=N`: JSON lines of [`crate::score::Item`].
pub const SCORE_ITEMS: &str = "/v1/scoring/items";
/// POST, a scoring pod: JSON lines of [`crate::score::Scored`]. Answer: 204.
pub const SCORES: &str = "/v1/scoring/scores";

/// GET: [`crate::query::Runs`]. PUT, the operator, at `/v1/runs/NAMESPACE/NAME`: [`crate::run::Registration`], answered 204; DELETE there with
/// `?uid=UID`, the operator: everything of the run goes. POST, the operator, at `…/observe`: [`crate::run::Observation`] (404: register it first), answered with
/// [`crate::run::Aggregate`]. GET there, a reader: the run; `…/calls`, `…/trials`, `…/results`: see [`crate::query`].
pub const RUNS: &str = "/v1/runs";

/// The path of a run.
pub fn run(namespace: &str, name: &str) -> String {
    format!("{RUNS}/{namespace}/{name}")
}

/// The path of a cache entry; `key` is hex.
pub fn cache(key: &str) -> String {
    format!("{CACHE}{key}")
}
