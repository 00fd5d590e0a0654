//! The ranking: which combo is best, what is tied with it, what no other beats.

use indexmap::IndexMap;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use crate::combo::Combos;
use crate::stats::{self, Point};
use crate::trial::{Observation, Observations, TrialKey, TrialState};

/// What the ranking weighs beside the score. Both 0: the score alone, then latency, then cost break ties.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Objective {
    /// Taken off a trial's score at the greatest latency of the run's trials, and in proportion below; at least 0.
    pub latency_weight: f64,
    /// The same for cost.
    pub cost_weight: f64,
}

/// One combo's place.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked {
    /// From 1.
    pub rank: usize,
    /// The combo's index.
    pub index: usize,
    /// The combo's id.
    pub combo: String,
    /// Role to model.
    pub models: IndexMap<String, String>,
    /// Trials that count: scored ones and the agent's own failures.
    pub trials: usize,
    /// Of these, the agent's own failures.
    pub failed: usize,
    /// Mean score, failures counted as 0.
    pub score: f64,
    /// The score's standard error over datapoints; `None` with fewer than two.
    pub standard_error: Option<f64>,
    /// Mean seconds a trial.
    pub latency_seconds: f64,
    /// Mean US dollars a trial as if nothing had been cached; `None` where a call has no price.
    pub usd: Option<Decimal>,
    /// What the order goes by: the score, less the weighted latency and cost.
    pub objective: f64,
    /// Whether it is not told apart from the first on their common datapoints (see [`stats::told_apart`]).
    pub tied_with_best: bool,
    /// Whether no other combo is better in one of score, latency and cost and no worse in the rest.
    pub pareto: bool,
}

/// Ranks the combos that have a trial that counts.
///
/// The order: combos with a success before those without; combos scored on at least half as many datapoints as the widest
/// before the others (a lucky first trial is no result); then the objective, latency, cost (unknown is last) and combo order.
///
/// The objective of a trial is AgentOpt's: `score - latencyWeight * norm(latency) - costWeight * norm(cost)`, with
/// `norm(v) = (v - min) / (max - min)` over all successful trials, 0 where they are equal. Unlike there, a failed trial is
/// charged both weights in full and an unknown cost the whole weight: neither failing fast nor having no price is an advantage.
pub fn rank(combos: &Combos, observations: &Observations, objective: &Objective) -> Vec<Ranked> {
    let scale = Scale::of(observations, objective);
    let mut tallies: Vec<Tally> = Vec::new();
    for (key, observation) in observations.iter() {
        if key.combo >= combos.len() {
            continue;
        }
        let Some(score) = observation.state.counted_score() else { continue };
        if tallies.last().is_none_or(|tally| tally.index != key.combo) {
            tallies.push(Tally::new(key.combo));
        }
        let tally = tallies.last_mut().expect("one was just pushed if there was none");
        tally.add(key, score, scale.objective(score, observation), observation);
    }
    let widest = tallies.iter().map(|tally| tally.scores.len()).max().unwrap_or_default();
    tallies.sort_by_cached_key(|tally| tally.order(widest));
    let points: Vec<Point> = tallies.iter().map(Tally::point).collect();
    let front = stats::pareto_front(&points);
    let best: Vec<(usize, f64)> = tallies.first().map(Tally::objective_by_datapoint).unwrap_or_default();
    let places = tallies.into_iter().zip(front).enumerate();
    places.filter_map(|(place, (tally, pareto))| tally.into_ranked(place + 1, combos, &best, pareto)).collect()
}

/// The bounds that latency and cost are normalised by.
struct Scale {
    objective: Objective,
    latency: Option<(f64, f64)>,
    usd: Option<(f64, f64)>,
}

impl Scale {
    fn of(observations: &Observations, objective: &Objective) -> Self {
        let (mut latency, mut usd) = (None, None);
        for (_, observation) in observations.iter() {
            if matches!(observation.state, TrialState::Succeeded { .. }) {
                widen(&mut latency, Some(observation.measures.latency_seconds));
                widen(&mut usd, observation.measures.usd.and_then(|usd| usd.to_f64()));
            }
        }
        Self { objective: *objective, latency, usd }
    }

    fn objective(&self, score: f64, observation: &Observation) -> f64 {
        let Objective { latency_weight, cost_weight } = self.objective;
        if !matches!(observation.state, TrialState::Succeeded { .. }) {
            return score - latency_weight - cost_weight;
        }
        let usd = observation.measures.usd.and_then(|usd| usd.to_f64());
        score - latency_weight * norm(Some(observation.measures.latency_seconds), self.latency) - cost_weight * norm(usd, self.usd)
    }
}

fn widen(bounds: &mut Option<(f64, f64)>, value: Option<f64>) {
    if let Some(value) = value.filter(|value| value.is_finite()) {
        let (least, greatest) = bounds.unwrap_or((value, value));
        *bounds = Some((least.min(value), greatest.max(value)));
    }
}

fn norm(value: Option<f64>, bounds: Option<(f64, f64)>) -> f64 {
    match (value.filter(|value| value.is_finite()), bounds) {
        (Some(value), Some((least, greatest))) if greatest > least => (value - least) / (greatest - least),
        (Some(_), _) | (None, None) => 0.0,
        (None, Some(_)) => 1.0,
    }
}

/// What a combo's trials add up to.
struct Tally {
    index: usize,
    /// One cluster of scores a datapoint, in datapoint order.
    scores: Vec<Vec<f64>>,
    /// The same, of objectives.
    objectives: Vec<Vec<f64>>,
    datapoints: Vec<usize>,
    trials: usize,
    succeeded: usize,
    latency_sum: f64,
    usd_sum: Option<Decimal>,
}

impl Tally {
    fn new(index: usize) -> Self {
        let (scores, objectives, datapoints) = (Vec::new(), Vec::new(), Vec::new());
        Self { index, scores, objectives, datapoints, trials: 0, succeeded: 0, latency_sum: 0.0, usd_sum: Some(Decimal::ZERO) }
    }

    /// Trials arrive by datapoint.
    fn add(&mut self, key: TrialKey, score: f64, objective: f64, observation: &Observation) {
        if self.datapoints.last() != Some(&key.datapoint) {
            self.datapoints.push(key.datapoint);
            self.scores.push(Vec::new());
            self.objectives.push(Vec::new());
        }
        let at = self.datapoints.len() - 1;
        self.scores[at].push(score);
        self.objectives[at].push(objective);
        self.trials += 1;
        self.succeeded += usize::from(matches!(observation.state, TrialState::Succeeded { .. }));
        let latency = observation.measures.latency_seconds;
        self.latency_sum += if latency.is_finite() { latency } else { 0.0 };
        self.usd_sum = self.usd_sum.zip(observation.measures.usd).and_then(|(sum, usd)| sum.checked_add(usd));
    }

    fn mean(&self, clusters: &[Vec<f64>]) -> f64 {
        clusters.iter().flatten().sum::<f64>() / self.trials as f64
    }

    fn latency(&self) -> f64 {
        self.latency_sum / self.trials as f64
    }

    fn usd(&self) -> Option<Decimal> {
        self.usd_sum.map(|sum| sum / Decimal::from(self.trials))
    }

    /// Smaller is better. Values are compared to 9 decimals, as AgentOpt does: below lies rounding noise.
    fn order(&self, widest: usize) -> (bool, bool, i64, i64, (bool, Decimal), usize) {
        let nano = |value: f64| (value * 1e9).round() as i64;
        let usd = self.usd().map_or((true, Decimal::ZERO), |usd| (false, usd.round_dp(9)));
        let thin = self.datapoints.len() * 2 < widest;
        (self.succeeded == 0, thin, -nano(self.mean(&self.objectives)), nano(self.latency()), usd, self.index)
    }

    /// A combo without a success is nowhere near the front, however cheaply it fails.
    fn point(&self) -> Point {
        if self.succeeded == 0 {
            return Point { score: f64::NEG_INFINITY, latency: f64::INFINITY, usd: f64::INFINITY };
        }
        let usd = self.usd().and_then(|usd| usd.to_f64()).unwrap_or(f64::INFINITY);
        Point { score: self.mean(&self.scores), latency: self.latency(), usd }
    }

    fn objective_by_datapoint(&self) -> Vec<(usize, f64)> {
        let means = self.objectives.iter().map(|cluster| stats::mean(cluster).unwrap_or_default());
        self.datapoints.iter().copied().zip(means).collect()
    }

    fn into_ranked(self, rank: usize, combos: &Combos, best: &[(usize, f64)], pareto: bool) -> Option<Ranked> {
        let combo = combos.get(self.index)?;
        Some(Ranked {
            rank,
            index: self.index,
            combo: combo.id,
            models: combo.models,
            trials: self.trials,
            failed: self.trials - self.succeeded,
            score: self.mean(&self.scores),
            standard_error: stats::standard_error(&self.scores),
            latency_seconds: self.latency(),
            usd: self.usd(),
            objective: self.mean(&self.objectives),
            tied_with_best: rank == 1 || !stats::told_apart(&differences(best, &self.objective_by_datapoint())),
            pareto: pareto && self.succeeded > 0,
        })
    }
}

/// Differences on the datapoints that both have; both are in datapoint order.
fn differences(one: &[(usize, f64)], other: &[(usize, f64)]) -> Vec<f64> {
    let mut others = other.iter().peekable();
    let mut found = Vec::new();
    for (datapoint, value) in one {
        while others.next_if(|(behind, _)| behind < datapoint).is_some() {}
        if let Some((_, other)) = others.next_if(|(at, _)| at == datapoint) {
            found.push(value - other);
        }
    }
    found
}

#[cfg(test)]
mod tests;
