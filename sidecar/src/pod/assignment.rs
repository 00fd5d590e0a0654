//! What a pod is to do, as the hub says.

use std::time::{Duration, Instant};

use agentrun_protocol::{paths, trial::Assignment};
use thiserror::Error;

use crate::{
    Session,
    hub::{Ask, Backoff, Hub, HubError},
    route::Router,
};

/// A trial cannot begin without its input; the kubelet gives a sidecar a minute to start.
const FOR_TRIALS: Duration = Duration::from_secs(60);
/// A pod that others made begins without the hub, and its records follow later.
const FOR_OTHERS: Duration = Duration::from_secs(5);
/// Between two tries, at first and at last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Why a trial has no assignment.
#[derive(Debug, Error)]
pub enum AssignmentError {
    /// The hub did not give one.
    #[error("get the pod's trial within {} s", FOR_TRIALS.as_secs())]
    Hub(#[source] HubError),
    /// The hub gave one that cannot be used.
    #[error("use the pod's trial: {0}")]
    Unusable(String),
}

/// Asks the hub for the pod's assignment. A pod of others goes without one when the hub stays away.
pub(super) async fn fetch(hub: &Hub, trial: bool) -> Result<Option<Assignment>, AssignmentError> {
    let (began, patience) = (Instant::now(), if trial { FOR_TRIALS } else { FOR_OTHERS });
    let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
    let mut told = false;
    loop {
        // Every refusal may pass: the hub learns of new pods and runs by watching.
        let error = match hub.message::<Assignment>(Ask::get(paths::TRIAL)).await {
            Ok(assignment) => return Ok(Some(assignment)),
            Err(error) => error,
        };
        let pause = backoff.pause();
        if began.elapsed() + pause > patience {
            if trial {
                return Err(AssignmentError::Hub(error));
            }
            tracing::warn!(%error, "beginning without the hub: calls are recorded, and told to it later");
            return Ok(None);
        }
        if !told {
            tracing::info!(%error, "waiting for the hub");
            told = true;
        }
        tokio::time::sleep(pause).await;
    }
}

/// The session that an assignment makes.
pub(super) fn session(assignment: &Assignment) -> Result<Session, AssignmentError> {
    let router = assignment.routing.as_ref().map(Router::of_run).transpose();
    let router = router.map_err(|error| AssignmentError::Unusable(format!("its routing: {error}")))?;
    let mode = if assignment.cache_mode.is_empty() { "ReadWrite" } else { &assignment.cache_mode };
    Ok(Session {
        run: Some(assignment.run.clone()).filter(|run| !run.is_empty()),
        data_id: assignment.data_id.clone(),
        combo_id: assignment.combo_id.clone(),
        agent_id: assignment.agent_id.clone(),
        sample: assignment.sample,
        attempt: assignment.attempt,
        scope: assignment.cache_scope.clone(),
        replaces: assignment.replaces.clone(),
        by_credential: false,
        cache: mode.parse().map_err(AssignmentError::Unusable)?,
        router,
        client: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CacheMode;

    #[test]
    fn an_assignment_becomes_a_session() {
        let assignment = Assignment {
            run: "r".into(),
            data_id: Some("q1".into()),
            sample: 2,
            attempt: 1,
            replaces: vec![("a".into(), "b".into())],
            cache_scope: "run 1".into(),
            cache_mode: "ReplayOnly".into(),
            ..Assignment::default()
        };
        let session = super::session(&assignment).unwrap();
        assert_eq!((session.run.as_deref(), session.data_id.as_deref(), session.combo_id), (Some("r"), Some("q1"), None));
        assert_eq!((session.sample, session.attempt, session.scope.as_str(), session.cache), (2, 1, "run 1", CacheMode::ReplayOnly));
        assert_eq!(session.replaces, [("a".to_owned(), "b".to_owned())]);
        assert_eq!(super::session(&Assignment::default()).unwrap().cache, CacheMode::ReadWrite);
        let odd = Assignment { cache_mode: "Sometimes".into(), ..Assignment::default() };
        assert!(super::session(&odd).unwrap_err().to_string().contains("`Sometimes` is no cache mode"));
    }

    #[test]
    fn an_assignment_brings_its_routing() {
        let assignment = |routing: &str| Assignment { routing: serde_json::from_str(routing).unwrap(), ..Assignment::default() };
        let routed = assignment(r#"{"rules": {"rules": [{"when": "sample > 0", "model": "a"}]}}"#);
        assert!(super::session(&routed).unwrap().router.is_some());
        let odd = assignment(r#"{"rules": {"rules": [{"when": "sampel > 0", "model": "a"}]}}"#);
        assert!(super::session(&odd).unwrap_err().to_string().contains("rules[0].when: there is no `sampel`"));
    }
}
