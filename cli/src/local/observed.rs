//! Between the store's rows and what the evaluation sees.

use std::collections::HashMap;

use agentrun_eval::{
    combo::Combos,
    trial::{Failure, FailureReason, Measures, Observation, Observations, TrialKey, TrialState},
};
use agentrun_hub::{Spending, TrialId, TrialRecord, TrialState as Stored};
use jiff::Timestamp;

use super::{plan::Plan, trial::Outcome};

/// A trial's name in the store.
pub(crate) fn id(plan: &Plan, key: TrialKey) -> TrialId {
    TrialId {
        combo: plan.combos.get(key.combo).map(|combo| combo.id).unwrap_or_default(),
        data_id: plan.dataset.get(key.datapoint).map(|datapoint| datapoint.id.clone()).unwrap_or_default(),
        sample: key.sample,
    }
}

/// What is stored of a trial's result.
pub(crate) fn record(id: TrialId, attempt: u32, started: Timestamp, finished: Timestamp, outcome: &Outcome) -> TrialRecord {
    let Observation { state, measures } = &outcome.observation;
    let (stored, score, failure) = match state {
        TrialState::Pending => (Stored::Pending, None, None),
        TrialState::Running => (Stored::Running, None, None),
        TrialState::Succeeded { score } => (Stored::Succeeded, Some(*score), None),
        TrialState::Failed(failure) if failure.reason.is_agents_own() => (Stored::Failed, None, Some(failure)),
        TrialState::Failed(failure) => (Stored::Lost, None, Some(failure)),
        TrialState::Unobserved => (Stored::Unobserved, None, None),
    };
    TrialRecord {
        id,
        attempt,
        state: stored,
        reason: failure.map(|failure| failure.reason.name().to_owned()),
        message: failure.map(|failure| failure.message.clone()),
        score,
        score_reason: outcome.score_reason.clone(),
        latency_seconds: Some(measures.latency_seconds),
        spending: Spending {
            calls: measures.calls,
            cached: measures.cached,
            failed: measures.failed,
            unreadable: measures.unreadable,
            unpriced: measures.unpriced,
            usd: measures.usd,
            spent: measures.spent_usd,
            saved: measures.saved_usd,
        },
        output: outcome.output.clone(),
        started: Some(started),
        finished: Some(finished),
    }
}

/// What the evaluation sees of stored trials. A row of a combo or datapoint that is not among these is left out.
pub(crate) fn observations(combos: &Combos, data_ids: &[String], trials: &[TrialRecord]) -> Observations {
    let combos: HashMap<String, usize> = combos.iter().enumerate().map(|(index, combo)| (combo.id, index)).collect();
    let datapoints: HashMap<&str, usize> = data_ids.iter().enumerate().map(|(index, id)| (id.as_str(), index)).collect();
    let key = |id: &TrialId| {
        Some(TrialKey { combo: *combos.get(&id.combo)?, datapoint: *datapoints.get(id.data_id.as_str())?, sample: id.sample })
    };
    trials.iter().filter_map(|trial| Some((key(&trial.id)?, observation(trial)))).collect()
}

fn observation(trial: &TrialRecord) -> Observation {
    let state = match trial.state {
        Stored::Pending => TrialState::Pending,
        Stored::Running => TrialState::Running,
        Stored::Succeeded => TrialState::Succeeded { score: trial.score.unwrap_or_default() },
        Stored::Failed => TrialState::Failed(failure(trial, FailureReason::AgentExit)),
        Stored::Lost => TrialState::Failed(failure(trial, FailureReason::SidecarLost)),
        Stored::Unobserved => TrialState::Unobserved,
    };
    let spending = &trial.spending;
    let measures = Measures {
        latency_seconds: trial.latency_seconds.unwrap_or_default(),
        usd: spending.usd,
        spent_usd: spending.spent,
        saved_usd: spending.saved,
        calls: spending.calls,
        cached: spending.cached,
        failed: spending.failed,
        unreadable: spending.unreadable,
        unpriced: spending.unpriced,
    };
    Observation { state, measures }
}

/// `other` stands for a reason that a later version has written.
fn failure(trial: &TrialRecord, other: FailureReason) -> Failure {
    let reason = trial.reason.clone().and_then(|reason| serde_json::from_value(reason.into()).ok()).unwrap_or(other);
    Failure { reason, message: trial.message.clone().unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use agentrun_eval::combo::Role;

    use super::*;

    #[test]
    fn what_is_stored_is_seen_again_as_it_was() {
        let combos = Combos::product(vec![Role { name: "solver".into(), models: vec!["a".into(), "b".into()] }]).unwrap();
        let measures = Measures {
            latency_seconds: 1.5,
            usd: Some("0.12".parse().unwrap()),
            spent_usd: "0.1".parse().unwrap(),
            saved_usd: "0.02".parse().unwrap(),
            calls: 5,
            cached: 1,
            failed: 2,
            unreadable: 3,
            unpriced: 4,
        };
        let failed = |reason, message: &str| TrialState::Failed(Failure { reason, message: message.into() });
        let states = [
            TrialState::Succeeded { score: 0.75 },
            failed(FailureReason::Timeout, "ran longer than 5 s"),
            failed(FailureReason::UpstreamUnreachable, "none answered"),
            TrialState::Unobserved,
        ];
        let ids: Vec<String> = (0..states.len()).map(|index| format!("q{index}")).collect();
        let mut trials = Vec::new();
        let mut expected = Observations::new();
        for (index, state) in states.into_iter().enumerate() {
            let observation = Observation { state, measures: measures.clone() };
            expected.record(TrialKey { combo: 1, datapoint: index, sample: 0 }, observation.clone());
            let id = TrialId { combo: "solver=b".into(), data_id: ids[index].clone(), sample: 0 };
            let outcome = Outcome { observation, output: None, score_reason: None };
            trials.push(record(id, 1, Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH, &outcome));
        }
        assert_eq!(observations(&combos, &ids, &trials), expected);
    }
}
