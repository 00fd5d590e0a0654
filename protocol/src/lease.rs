//! The shared cache and its leases: equal calls of several pods are one upstream call.
//!
//! `GET /v1/cache/KEY?lease=ID&wait=SECONDS`:
//! - `200`: the stored answer's bytes, as they were put (opaque to the hub);
//! - `404` with header [`LEASE_HEADER`]` = leader`: nothing is stored and the caller leads: it asks upstream, then puts or gives up. Until
//!   then it renews its lease at least every [`RENEW_SECONDS`]; one that is not renewed for [`LEASE_SECONDS`] is lost, and one follower leads;
//! - `404` without it: nothing is stored, and `lease` was not given;
//! - `202`: another leads and did not end within `wait` (at most [`WAIT_SECONDS`]): ask again;
//! - `200` with header [`LANDED_HEADER`]: the leader's complete answer, which is not stored (an error): for those alone that waited.
//!
//! `PUT /v1/cache/KEY?lease=ID` stores and ends the lease (without `lease` too: who renews stored answers asks for none); with `&keep=false` it hands the answer to those that wait and stores nothing.
//! `DELETE /v1/cache/KEY?lease=ID` gives up: with `&alone=true` all that wait ask upstream by themselves (`404` without a lease), else one leads.
//!
//! After a restart the hub gives no lease for [`LEASE_SECONDS`], so that leaders of before can renew theirs.

use serde::{Deserialize, Serialize};

/// Header: `leader`.
pub const LEASE_HEADER: &str = "agentrun-lease";
/// Header: `true` on an answer that was handed over and not stored.
pub const LANDED_HEADER: &str = "agentrun-landed";
/// Seconds after which a lease that was not renewed is lost.
pub const LEASE_SECONDS: u64 = 6;
/// Seconds between renewals.
pub const RENEW_SECONDS: u64 = 2;
/// The longest that a GET waits, seconds.
pub const WAIT_SECONDS: u64 = 20;
/// The most bytes of one entry.
pub const ENTRY_BYTES: u64 = 8 << 20;

/// All leases of a sidecar, renewed at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// `(key in hex, lease id)`.
    pub leases: Vec<(String, String)>,
}

/// The answer: which of them are no longer the caller's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    /// Keys in hex.
    pub lost: Vec<String>,
}
