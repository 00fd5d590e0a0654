//! From the resource to what is evaluated, and from what came out to the resource's status.

use agentrun_eval::combo::{Combo, ComboError, Combos, Role};
use agentrun_eval::decimal;
use agentrun_eval::rank::{Objective, Ranked};
use agentrun_eval::score::{CommandScorer, Contains, Exact, JsonPointer, Numeric, Pattern, ScoreError, Scorer, Scoring};
use agentrun_eval::select::{Method, Spec};
use agentrun_eval::summary::{self, CallTotals, Summary};
use indexmap::IndexMap;

use crate::agent_run::{AgentRunSpec, ComboSpec, SelectionMethod};
use crate::scoring::ScoringSpec;
use crate::status::{AgentRunStatus, Best, CallCounts, FailureCount, MAX_RESULTS, RankedCombo, Spend, TrialCounts};

impl AgentRunSpec {
    /// The combos to evaluate: the listed ones, or the product of the roles.
    ///
    /// # Errors
    /// Duplicates or too many; a parsed manifest has neither.
    pub fn combos(&self) -> Result<Combos, ComboError> {
        if self.combos.is_empty() {
            let roles = self.roles.iter().map(|role| Role { name: role.name.clone(), models: role.models.clone() });
            return Combos::product(roles.collect());
        }
        Combos::listed(self.combos.iter().map(|combo| self.listed_combo(combo)).collect())
    }

    /// Models in the order of the roles, whatever their order in the list.
    fn listed_combo(&self, combo: &ComboSpec) -> Combo {
        let named = self.roles.iter().filter_map(|role| combo.models.get(&role.name).map(|model| (role.name.clone(), model.clone())));
        let labelled = Combo::labelled(named.collect());
        Combo { id: combo.id.clone().unwrap_or(labelled.id), models: labelled.models }
    }

    /// What the ranking weighs.
    pub fn objective(&self) -> Objective {
        Objective { latency_weight: self.objective.latency_weight, cost_weight: self.objective.cost_weight }
    }

    /// The space that trials are chosen from.
    pub fn selection(&self, combos: usize, datapoints: usize) -> Spec {
        let method = match self.selection.method {
            SelectionMethod::BruteForce => Method::BruteForce,
        };
        Spec { method, combos, datapoints, samples: u32::try_from(self.samples).unwrap_or(1).max(1) }
    }

    /// Which calls a combo's session sends elsewhere: (model asked for, the combo's model).
    pub fn replacements(&self, models: &IndexMap<String, String>) -> Vec<(String, String)> {
        let pairs = self.roles.iter().filter_map(|role| models.get(&role.name).map(|model| (role, model)));
        pairs.flat_map(|(role, model)| role.replaces.iter().map(move |asked| (asked.clone(), model.clone()))).collect()
    }
}

impl ScoringSpec {
    /// The scorer that is set; `None` where only a cluster can score (`container`), or nothing is set.
    ///
    /// # Errors
    /// A pattern, pointer, tolerance or command that is of no use.
    pub fn scoring(&self) -> Result<Option<Scoring>, ScoreError> {
        let builtin = if let Some(exact) = self.exact {
            Scorer::Exact(Exact { trim: exact.trim, ignore_case: exact.ignore_case })
        } else if let Some(contains) = self.contains {
            Scorer::Contains(Contains { ignore_case: contains.ignore_case })
        } else if let Some(regex) = &self.regex {
            Scorer::Regex(Pattern::new(&regex.pattern)?)
        } else if let Some(numeric) = self.numeric {
            Scorer::Numeric(Numeric::new(numeric.tolerance)?)
        } else if let Some(json) = &self.json {
            Scorer::Json(JsonPointer::new(&json.pointer)?)
        } else if let Some(argv) = &self.command {
            return Ok(Some(Scoring::Command(CommandScorer::new(argv.clone())?)));
        } else {
            return Ok(None);
        };
        Ok(Some(Scoring::Builtin(builtin)))
    }
}

impl AgentRunStatus {
    /// The counters, the ranking and the failures; phase, conditions and times are the caller's.
    pub fn of(summary: &Summary, ranked: &[Ranked], combos: &Combos) -> Self {
        let (trials, calls) = (&summary.trials, &summary.calls);
        let tied = ranked.iter().filter(|row| row.tied_with_best).count();
        let trials = TrialCounts {
            total: count(trials.total),
            pending: count(trials.pending),
            running: count(trials.running),
            succeeded: count(trials.succeeded),
            failed: count(trials.failed),
            unobserved: count(trials.unobserved),
        };
        Self {
            progress: trials.progress(),
            trials,
            calls: CallCounts {
                total: count(calls.total),
                cached: count(calls.cached),
                failed: count(calls.failed),
                unreadable: count(calls.unreadable),
            },
            spend: Spend { usd: decimal::usd(calls.spent_usd), saved_usd: decimal::usd(calls.saved_usd), unpriced: count(calls.unpriced) },
            results: ranked.iter().take(MAX_RESULTS).map(RankedCombo::from).collect(),
            best: ranked.first().map(|first| Best { combo: first.combo.clone(), tied: count(tied as u64) }),
            failures: summary.failures.iter().map(|group| failure_count(group, combos)).collect(),
            ..Self::default()
        }
    }

    /// The counters that [`AgentRunStatus::of`] was given, without the failures.
    pub fn summary(&self) -> Summary {
        let number = |count: i64| u64::try_from(count).unwrap_or_default();
        let (trials, calls, spend) = (&self.trials, &self.calls, &self.spend);
        Summary {
            trials: summary::TrialCounts {
                total: number(trials.total),
                pending: number(trials.pending),
                running: number(trials.running),
                succeeded: number(trials.succeeded),
                failed: number(trials.failed),
                unobserved: number(trials.unobserved),
            },
            calls: CallTotals {
                total: number(calls.total),
                cached: number(calls.cached),
                failed: number(calls.failed),
                unreadable: number(calls.unreadable),
                unpriced: number(spend.unpriced),
                spent_usd: spend.usd.parse().unwrap_or_default(),
                saved_usd: spend.saved_usd.parse().unwrap_or_default(),
            },
            failures: Vec::new(),
        }
    }
}

/// A row of the ranking, as far as a status tells it: without its combo's number and its objective, for which place and score stand.
impl From<&RankedCombo> for Ranked {
    fn from(row: &RankedCombo) -> Self {
        let real = |text: &String| text.parse().unwrap_or(f64::NAN);
        let number = |count: i64| usize::try_from(count).unwrap_or_default();
        Self {
            rank: number(row.rank),
            index: number(row.rank).saturating_sub(1),
            combo: row.combo.clone(),
            models: row.models.clone(),
            trials: number(row.trials),
            failed: number(row.failed),
            score: real(&row.score),
            standard_error: row.standard_error.as_ref().map(real),
            latency_seconds: real(&row.latency_seconds),
            usd: row.usd.as_ref().and_then(|usd| usd.parse().ok()),
            objective: real(&row.score),
            tied_with_best: row.tied_with_best,
            pareto: row.pareto,
        }
    }
}

impl From<&Ranked> for RankedCombo {
    fn from(row: &Ranked) -> Self {
        Self {
            rank: count(row.rank as u64),
            combo: row.combo.clone(),
            models: row.models.clone(),
            trials: count(row.trials as u64),
            failed: count(row.failed as u64),
            score: decimal::fixed(row.score),
            standard_error: row.standard_error.map(decimal::fixed),
            latency_seconds: decimal::fixed(row.latency_seconds),
            usd: row.usd.map(decimal::usd),
            tied_with_best: row.tied_with_best,
            pareto: row.pareto,
        }
    }
}

fn failure_count(group: &agentrun_eval::summary::FailureGroup, combos: &Combos) -> FailureCount {
    FailureCount {
        reason: group.reason.name().to_owned(),
        count: count(group.count),
        message: group.message.clone(),
        combo: combos.get(group.combo).map(|combo| combo.id).unwrap_or_default(),
        datapoints: group.datapoints.clone(),
    }
}

/// Kubernetes knows no unsigned integers.
fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
