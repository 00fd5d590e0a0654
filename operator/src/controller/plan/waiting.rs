//! Pods that do not start: how long each may wait, and what is said of them together.

use agentrun_eval::trial::FailureReason;
use agentrun_protocol::run::PodFailure;

use super::Settings;
use crate::diagnose::Diagnosis;
use crate::objects::job::Place;

/// Seconds that a pod waits which can never start: long enough to be seen.
const HOPELESS_SECONDS: u64 = 10;

/// A pod of a trial that does not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its Job.
    pub place: Place,
    /// Its index in its Job.
    pub own: u64,
    /// Its index in the chunk.
    pub index: u64,
    /// Its uid.
    pub uid: String,
    /// Why.
    pub diagnosis: Diagnosis,
    /// Seconds since it was made.
    pub seconds: u64,
}

impl Waiting {
    /// What the hub is told once the pod is given up.
    pub fn failure(&self) -> PodFailure {
        PodFailure {
            pod_uid: self.uid.clone(),
            combo: self.place.combo,
            chunk: self.place.chunk,
            index: self.index,
            reason: self.diagnosis.reason.name().to_owned(),
            message: self.diagnosis.message.clone(),
            exit_code: None,
        }
    }
}

/// The pods that waited long enough. Each counts as one try of its trial.
pub fn expired(waiting: &[Waiting], settings: Settings) -> Vec<Waiting> {
    let patience = |waiting: &Waiting| match waiting.diagnosis.reason {
        _ if waiting.diagnosis.hopeless => HOPELESS_SECONDS,
        FailureReason::ImagePull => settings.image_seconds.min(settings.pending_seconds),
        _ => settings.pending_seconds,
    };
    waiting.iter().filter(|waiting| waiting.seconds >= patience(waiting)).cloned().collect()
}

/// The reason that most of them share, and a sentence about it; the first by name where several are as frequent.
pub fn told(waiting: &[Waiting]) -> Option<(FailureReason, String)> {
    let count = |reason: FailureReason| waiting.iter().filter(|other| other.diagnosis.reason == reason).count();
    let reasons = waiting.iter().map(|waiting| waiting.diagnosis.reason);
    let reason = reasons.max_by_key(|reason| (count(*reason), std::cmp::Reverse(reason.name())))?;
    let first = waiting.iter().filter(|waiting| waiting.diagnosis.reason == reason).min_by_key(|waiting| (waiting.place, waiting.index))?;
    let pods = match count(reason) {
        1 => "1 pod does not start".to_owned(),
        several => format!("{several} pods do not start"),
    };
    Some((reason, format!("{pods}: {}", first.diagnosis.message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn waiting(index: u64, reason: FailureReason, seconds: u64, hopeless: bool) -> Waiting {
        let diagnosis = Diagnosis { reason, message: format!("why {index}"), exit_code: None, hopeless };
        Waiting { place: Place::first(0, 0), own: index, index, uid: index.to_string(), diagnosis, seconds }
    }

    #[test]
    fn a_pod_is_given_up_when_its_time_is_over() {
        let settings = Settings { pending_seconds: 600, image_seconds: 120 };
        let table = [
            (FailureReason::Unschedulable, 599, false, false),
            (FailureReason::Unschedulable, 600, false, true),
            (FailureReason::ImagePull, 119, false, false),
            (FailureReason::ImagePull, 120, false, true),
            (FailureReason::ImagePull, 10, true, true),
            (FailureReason::ImagePull, 9, true, false),
            (FailureReason::Spawn, 120, false, false),
        ];
        for (reason, seconds, hopeless, gone) in table {
            let pods = [waiting(0, reason, seconds, hopeless)];
            assert_eq!(expired(&pods, settings).len() == 1, gone, "{pods:?}");
        }
    }

    #[test]
    fn the_most_frequent_reason_is_told_once() {
        let pods = [
            waiting(4, FailureReason::Unschedulable, 1, false),
            waiting(2, FailureReason::ImagePull, 1, false),
            waiting(1, FailureReason::ImagePull, 1, false),
        ];
        assert_eq!(told(&pods), Some((FailureReason::ImagePull, "2 pods do not start: why 1".to_owned())));
        assert_eq!(told(&pods[..2]).unwrap().0, FailureReason::ImagePull);
        assert_eq!(told(&[]), None);
    }
}
