//! One pod's work on a trial, or the work of a pod that others made.

use agentrun_eval::trial::{Failure, Measures};
use agentrun_protocol::trial::End;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{sums::Sums, types::Claims};

/// An attempt as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Attempt {
    pub(crate) pod_uid: String,
    pub(crate) pod: String,
    /// The trial's number; `None` for a pod that others made.
    pub(crate) trial: Option<u64>,
    /// The how-manieth attempt, from 0.
    pub(crate) number: u32,
    /// What a pod that others made says of itself.
    pub(crate) claims: Option<Claims>,
    /// When its pod asked for it, microseconds since 1970.
    pub(crate) started: Option<i64>,
    /// When its end arrived, or how its pod failed was told, whichever was first; microseconds since 1970.
    pub(crate) ended: Option<i64>,
    /// Whether the pod ever asked for its trial. One that did not only failed.
    pub(crate) claimed: bool,
    /// Records up to this one are stored.
    pub(crate) acknowledged: u64,
    pub(crate) sums: Sums,
    /// First start and last end of its calls, microseconds since 1970.
    pub(crate) span: Option<(i64, i64)>,
    /// The output's length in bytes.
    pub(crate) output: Option<u64>,
    pub(crate) end: Option<End>,
    /// How its pod ended, where it ended badly.
    pub(crate) failure: Option<Failure>,
    /// The how-manieth of the run's failures that was, from 1.
    pub(crate) told: u64,
    /// A small output, so that it need not be read to be scored.
    #[serde(skip)]
    pub(crate) held: Option<Bytes>,
}

impl Attempt {
    /// What its calls came to. Without its end, it took from its first call to its last as far as anybody knows.
    pub(crate) fn measures(&self) -> Measures {
        match (&self.end, self.span) {
            (Some(end), _) => self.sums.measures(end.wall_seconds, end.cached_seconds),
            (None, Some((first, last))) => self.sums.measures(last.saturating_sub(first) as f64 / 1e6, 0.0),
            (None, None) => self.sums.measures(0.0, 0.0),
        }
    }

    /// Whether its trial may still get its result from it.
    pub(crate) fn is_live(&self) -> bool {
        self.claimed && self.failure.is_none()
    }
}
