//! What readers are told of a run from memory; outputs and records are fetched by whoever asks.

use agentrun_eval::trial::TrialState;
use agentrun_protocol::query::{Filter, Trial as Told};
use jiff::Timestamp;

use super::{RunState, Stands, Trial};
use crate::archive::{
    attempt::Attempt,
    lines::{Owner, without_nul},
    types::AttemptId,
};

/// A trial for readers, but for its output.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    /// Where the next page would go on.
    pub(crate) next: u64,
    pub(crate) trial: Told,
    /// The attempt whose output it is, and the output's bytes.
    pub(crate) output: Option<(i64, u64)>,
}

/// Whose records are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Everybody's.
    All,
    /// Those of these attempts, in rising order.
    Of(Vec<i64>),
    /// Those that have all of these ids.
    Named(Vec<Name>),
}

impl Wanted {
    /// The ids that are asked for, where records may have their own.
    pub(crate) fn names(&self) -> &[Name] {
        match self {
            Self::All | Self::Of(_) => &[],
            Self::Named(names) => names,
        }
    }
}

/// An id that records have by their own word, or else by their attempt's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// The record's member.
    pub(crate) member: &'static str,
    pub(crate) id: String,
    /// The attempts that have it, in rising order.
    pub(crate) attempts: Vec<i64>,
}

/// An attempt's filter, its names looked up once.
struct Belongs<'a> {
    filter: &'a Filter,
    combo: Option<usize>,
    datapoint: Option<usize>,
}

impl RunState {
    fn belongs<'a>(&self, filter: &'a Filter) -> Belongs<'a> {
        let plan = self.plan.as_ref();
        let combo = plan.zip(filter.combo_id.as_ref()).and_then(|(plan, id)| plan.combos.index_of(id));
        let datapoint = plan.zip(filter.data_id.as_ref()).and_then(|(plan, id)| plan.dataset.index_of(id));
        Belongs { filter, combo, datapoint }
    }

    fn is_wanted(&self, attempt: &Attempt, belongs: &Belongs<'_>) -> bool {
        let Belongs { filter, combo, datapoint } = belongs;
        let claims = attempt.claims.clone().unwrap_or_default();
        let key = self.plan.as_ref().zip(attempt.trial).map(|(plan, trial)| plan.key_of(trial));
        let is_combo = |id: &String| key.map_or(claims.combo_id == *id, |key| Some(key.combo) == *combo);
        let is_datapoint = |id: &String| key.map_or(claims.data_id == *id, |key| Some(key.datapoint) == *datapoint);
        filter.combo_id.as_ref().is_none_or(is_combo)
            && filter.data_id.as_ref().is_none_or(is_datapoint)
            && filter.agent_id.as_ref().is_none_or(|id| claims.agent_id == *id)
    }

    /// Whose records a filter wants.
    pub(crate) fn wanted(&self, filter: &Filter) -> Wanted {
        if filter.combo_id.is_none() && filter.data_id.is_none() && filter.agent_id.is_none() {
            return Wanted::All;
        }
        if !self.attempts.values().any(|attempt| attempt.claims.is_some()) {
            return Wanted::Of(self.attempts_of(filter));
        }
        let name = |member, id: &Option<String>, alone: Filter| {
            let id = without_nul(id.as_ref()?);
            Some(Name { member, id, attempts: self.attempts_of(&alone) })
        };
        let (data_id, combo_id, agent_id) = (filter.data_id.clone(), filter.combo_id.clone(), filter.agent_id.clone());
        let names = [
            name("data_id", &filter.data_id, Filter { data_id, ..Filter::default() }),
            name("combo_id", &filter.combo_id, Filter { combo_id, ..Filter::default() }),
            name("agent_id", &filter.agent_id, Filter { agent_id, ..Filter::default() }),
        ];
        Wanted::Named(names.into_iter().flatten().collect())
    }

    /// The attempts that have a filter's ids, in rising order.
    fn attempts_of(&self, filter: &Filter) -> Vec<i64> {
        let belongs = self.belongs(filter);
        let wanted = self.attempts.iter().filter(|(_, attempt)| self.is_wanted(attempt, &belongs));
        let mut ids: Vec<i64> = wanted.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// Whose an attempt's records are.
    pub(crate) fn owner(&self, attempt: i64) -> Owner {
        let mut owner = Owner { run: self.names.name.clone(), ..Owner::default() };
        let Ok(attempt) = self.attempt(AttemptId(attempt)) else { return owner };
        owner.attempt = attempt.number;
        let key = self.plan.as_ref().zip(attempt.trial).map(|(plan, trial)| (plan, plan.key_of(trial)));
        if let Some((plan, key)) = key {
            owner.sample = key.sample;
            owner.combo_id = plan.combos.get(key.combo).map(|combo| combo.id);
            owner.data_id = plan.dataset.get(key.datapoint).map(|datapoint| datapoint.id.clone());
        }
        if let Some(claims) = &attempt.claims {
            let said = |text: &String| (!text.is_empty()).then(|| text.clone());
            (owner.combo_id, owner.data_id, owner.agent_id) = (said(&claims.combo_id), said(&claims.data_id), said(&claims.agent_id));
        }
        owner
    }

    /// At most `limit` trials from number `from` on; of a run that nobody registered, its pods.
    pub(crate) fn list(&self, filter: &Filter, from: u64, limit: usize) -> Vec<Listed> {
        match &self.plan {
            Some(plan) => {
                let belongs = self.belongs(filter);
                let wanted = |trial: &u64| {
                    let key = plan.key_of(*trial);
                    belongs.filter.combo_id.as_ref().is_none_or(|_| Some(key.combo) == belongs.combo)
                        && belongs.filter.data_id.as_ref().is_none_or(|_| Some(key.datapoint) == belongs.datapoint)
                };
                (from..plan.trials()).filter(wanted).take(limit).filter_map(|trial| self.listed_trial(trial)).collect()
            }
            None => self.list_pods(filter, from, limit),
        }
    }

    fn listed_trial(&self, number: u64) -> Option<Listed> {
        let plan = self.plan.as_ref()?;
        let key = plan.key_of(number);
        let nothing = Trial::default();
        let trial = self.trials.get(&number).unwrap_or(&nothing);
        let shown =
            trial.attempt.or_else(|| trial.attempts.last().copied()).and_then(|id| self.attempts.get(&id).map(|attempt| (id, attempt)));
        let observation = self.observations.get(key);
        let measures = match (trial.stands, observation, shown) {
            (Stands::Final, Some(observation), _) => observation.measures.clone(),
            (_, _, Some((_, attempt))) => attempt.measures(),
            _ => Default::default(),
        };
        let claimed = |id: &&i64| self.attempts.get(id).is_some_and(|attempt| attempt.claimed);
        let mut told = Told {
            combo_id: plan.combos.get(key.combo)?.id,
            data_id: plan.dataset.get(key.datapoint)?.id.clone(),
            sample: key.sample,
            attempts: u32::try_from(trial.attempts.iter().filter(claimed).count()).unwrap_or(u32::MAX),
            state: String::new(),
            reason: None,
            message: None,
            score: None,
            score_reason: trial.score_reason.clone(),
            latency_seconds: shown.map(|_| measures.latency_seconds),
            usd: shown.and(measures.usd).map(|usd| usd.to_string()),
            calls: measures.calls,
            cached: measures.cached,
            spent_usd: shown.map(|_| measures.spent_usd.to_string()),
            saved_usd: shown.map(|_| measures.saved_usd.to_string()),
            output: None,
            pod: shown.map(|(_, attempt)| attempt.pod.clone()).filter(|pod| !pod.is_empty()),
            started: shown.and_then(|(_, attempt)| time(attempt.started)),
            finished: shown.filter(|_| trial.stands == Stands::Final).and_then(|(_, attempt)| time(attempt.ended)),
        };
        let state = observation.map_or(&TrialState::Pending, |observation| &observation.state);
        tell_state(&mut told, state);
        if let (TrialState::Pending, Some(failure)) = (state, self.last_failure(trial)) {
            // Why it is tried again.
            (told.reason, told.message) = (Some(failure.reason.name().to_owned()), Some(failure.message.clone()));
        }
        let output = shown.and_then(|(id, attempt)| attempt.output.map(|bytes| (id, bytes)));
        Some(Listed { next: number + 1, trial: told, output })
    }

    fn list_pods(&self, filter: &Filter, from: u64, limit: usize) -> Vec<Listed> {
        let belongs = self.belongs(filter);
        let number = |id: i64| u64::try_from(id).unwrap_or_default();
        let mut pods: Vec<(&i64, &Attempt)> =
            self.attempts.iter().filter(|(id, attempt)| number(**id) >= from && self.is_wanted(attempt, &belongs)).collect();
        pods.sort_unstable_by_key(|(id, _)| **id);
        let listed = pods.into_iter().take(limit).map(|(id, attempt)| {
            let owner = self.owner(*id);
            let measures = attempt.measures();
            let told = Told {
                combo_id: owner.combo_id.unwrap_or_default(),
                data_id: owner.data_id.unwrap_or_default(),
                sample: 0,
                attempts: 1,
                state: if attempt.end.is_some() { "Ended" } else { "Running" }.to_owned(),
                reason: None,
                message: None,
                score: None,
                score_reason: None,
                latency_seconds: Some(measures.latency_seconds),
                usd: measures.usd.map(|usd| usd.to_string()),
                calls: measures.calls,
                cached: measures.cached,
                spent_usd: Some(measures.spent_usd.to_string()),
                saved_usd: Some(measures.saved_usd.to_string()),
                output: None,
                pod: Some(attempt.pod.clone()),
                started: time(attempt.started),
                finished: time(attempt.ended),
            };
            Listed { next: number(*id) + 1, trial: told, output: attempt.output.map(|bytes| (*id, bytes)) }
        });
        listed.collect()
    }

    /// Trials after `after` whose output a container is to score, with the attempt and the output's bytes.
    pub(crate) fn waiting(&self, after: i64, limit: usize) -> Vec<(u64, i64, u64)> {
        let from = u64::try_from(after.saturating_add(1)).unwrap_or_default();
        let waiting = self.unscored.range(from..).filter_map(|trial| {
            let attempt = self.trials.get(trial)?.attempt?;
            Some((*trial, attempt, self.attempts.get(&attempt)?.output?))
        });
        waiting.take(limit).collect()
    }
}

fn time(microseconds: Option<i64>) -> Option<String> {
    Some(Timestamp::from_microsecond(microseconds?).ok()?.to_string())
}

fn tell_state(told: &mut Told, state: &TrialState) {
    told.state = match state {
        TrialState::Pending => "Pending",
        TrialState::Running => "Running",
        TrialState::Succeeded { .. } => "Succeeded",
        TrialState::Failed(_) => "Failed",
        TrialState::Unobserved => "Unobserved",
    }
    .to_owned();
    match state {
        TrialState::Succeeded { score } => told.score = Some(*score),
        TrialState::Failed(failure) => {
            (told.reason, told.message) = (Some(failure.reason.name().to_owned()), Some(failure.message.clone()));
        }
        TrialState::Pending | TrialState::Running | TrialState::Unobserved => {}
    }
}
