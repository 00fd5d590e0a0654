//! A registered run: what its trials are, how they are scored, what a pod of it is to do.

use agentrun_crds::{
    AgentRunSpec,
    network::{CacheMode, CacheScope},
};
use agentrun_eval::{
    combo::Combos,
    dataset::{Datapoint, Dataset},
    rank::Objective,
    score::{Scorer, Scoring},
    select::Spec,
    trial::TrialKey,
};
use agentrun_protocol::{
    run::{CHUNK, cell_of},
    trial::Assignment,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::types::{OUTPUT_BYTES, Place};

/// What the operator registered, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Registered {
    pub(crate) generation: i64,
    pub(crate) spec: Value,
    pub(crate) datapoints: Vec<Value>,
}

/// What makes a number of an output.
#[derive(Debug)]
pub(crate) enum Judge {
    /// A pure function.
    Builtin(Scorer),
    /// A container of the user's, which asks for outputs and posts scores.
    Container,
}

/// What a run's decisions follow from.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) registered: Registered,
    pub(crate) spec: AgentRunSpec,
    pub(crate) combos: Combos,
    pub(crate) dataset: Dataset,
    pub(crate) selection: Spec,
    pub(crate) objective: Objective,
    pub(crate) judge: Judge,
}

impl Plan {
    /// Reads a registration.
    ///
    /// # Errors
    /// A sentence saying what is wrong with it.
    pub(crate) fn read(registered: Registered) -> Result<Self, String> {
        let spec: AgentRunSpec = serde_json::from_value(registered.spec.clone()).map_err(|error| format!("its spec: {error}"))?;
        let combos = spec.combos().map_err(|error| format!("its combos: {error}"))?;
        let dataset = Dataset::from_items(registered.datapoints.clone(), 0).map_err(|mistakes| format!("its datapoints: {mistakes}"))?;
        let scoring = spec.scoring.scoring().map_err(|error| format!("its scoring: {error}"))?;
        let judge = match (scoring, &spec.scoring.container) {
            (Some(Scoring::Builtin(scorer)), _) => Judge::Builtin(scorer),
            (None, Some(_)) => Judge::Container,
            (Some(Scoring::Command(_)), _) => {
                return Err("scoring.command runs on one machine only: use scoring.container in a cluster".to_owned());
            }
            (None, None) => return Err("it names no way of scoring: set one under spec.scoring".to_owned()),
        };
        let selection = spec.selection(combos.len(), dataset.len());
        Ok(Self { objective: spec.objective(), registered, spec, combos, dataset, selection, judge })
    }

    /// What differs from a later registration of the same run that may not.
    pub(crate) fn difference(&self, later: &Self) -> Option<&'static str> {
        let combos = |plan: &Self| (plan.spec.roles.clone(), plan.spec.combos.clone());
        let table = [
            (self.registered.datapoints != later.registered.datapoints, "other datapoints"),
            (combos(self) != combos(later), "other roles or combos"),
            (self.selection.samples != later.selection.samples, "another number of samples"),
            (self.spec.scoring != later.spec.scoring, "another scoring"),
        ];
        table.into_iter().find_map(|(differs, what)| differs.then_some(what))
    }

    /// How many trials a combo has.
    pub(crate) fn cells(&self) -> u64 {
        (self.dataset.len() as u64).saturating_mul(u64::from(self.selection.samples))
    }

    /// How many trials the run has.
    pub(crate) fn trials(&self) -> u64 {
        self.selection.trials()
    }

    /// A trial's number in the run: by combo, then sample, then datapoint.
    pub(crate) fn trial_at(&self, place: Place) -> Option<u64> {
        let number = place.chunk.checked_mul(CHUNK)?.checked_add(place.index)?;
        let exists = place.index < CHUNK && number < self.cells() && place.combo < self.combos.len() as u64;
        exists.then(|| place.combo * self.cells() + number)
    }

    /// The trials of a combo and chunk; none where there is no such chunk.
    pub(crate) fn trials_of(&self, combo: u64, chunk: u64) -> std::ops::Range<u64> {
        match self.trial_at(Place { combo, chunk, index: 0 }) {
            Some(first) => first..first + (self.cells() - chunk * CHUNK).min(CHUNK),
            None => 0..0,
        }
    }

    /// Where a trial's pod stands.
    pub(crate) fn place_of(&self, trial: u64) -> Place {
        let cell = trial % self.cells().max(1);
        Place { combo: trial / self.cells().max(1), chunk: cell / CHUNK, index: cell % CHUNK }
    }

    /// A trial as evaluation names it.
    pub(crate) fn key_of(&self, trial: u64) -> TrialKey {
        let place = self.place_of(trial);
        let cell = cell_of(place.chunk, place.index, self.dataset.len() as u64);
        let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        TrialKey { combo: index(place.combo), datapoint: index(cell.datapoint), sample: cell.sample }
    }

    /// A trial's datapoint.
    pub(crate) fn datapoint(&self, trial: u64) -> Option<&Datapoint> {
        self.dataset.get(self.key_of(trial).datapoint)
    }

    /// What a pod of this trial is to do, but for the names of its run.
    pub(crate) fn assignment(&self, trial: u64, attempt: u32) -> Option<Assignment> {
        let key = self.key_of(trial);
        let (combo, datapoint) = (self.combos.get(key.combo)?, self.dataset.get(key.datapoint)?);
        Some(Assignment {
            data_id: Some(datapoint.id.clone()),
            sample: key.sample,
            attempt,
            replaces: self.spec.replacements(&combo.models),
            combo_id: Some(combo.id),
            models: combo.models,
            routing: self.spec.routing.clone(),
            input: Some(datapoint.input_text()),
            output_limit: OUTPUT_BYTES as u64,
            cache_mode: match self.spec.cache.mode {
                CacheMode::ReadWrite => "ReadWrite",
                CacheMode::ReadOnly => "ReadOnly",
                CacheMode::Refresh => "Refresh",
                CacheMode::ReplayOnly => "ReplayOnly",
                CacheMode::Off => "Off",
            }
            .to_owned(),
            ..Assignment::default()
        })
    }

    /// Who shares the run's stored answers.
    pub(crate) fn cache_scope(&self) -> CacheScope {
        self.spec.cache.scope
    }
}
