//! What is to be done for a run, from what is stored and seen. Pure, and without memory: any replica, after any crash, decides the same.

pub mod again;
pub mod harvest;
pub mod notes;
pub mod status;
pub mod verdict;
pub mod waiting;
pub mod window;

use std::collections::BTreeMap;
use std::time::Duration;

use agentrun_crds::AgentRunSpec;
use agentrun_eval::combo::Combo;
use agentrun_protocol::run::Aggregate;
use jiff::Timestamp;
use serde_json::Value;

use crate::dataset::Problem;
use crate::objects::job::{self, Grid, JobView, Place};
use crate::objects::scoring::ScoringView;
use crate::ranges::Ranges;
use crate::run::Run;
use notes::Note;
use waiting::Waiting;
use window::{Mode, Move};

/// A scoring Job is made for so many outputs, and for the last ones.
const SCORED_TOGETHER: u64 = 100;

/// What was seen of a run and of what belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// Its Jobs.
    pub jobs: BTreeMap<Place, JobView>,
    /// The Job that scores its outputs.
    pub scoring: Option<ScoringView>,
    /// Its datapoints.
    pub dataset: DatasetView,
    /// How the source of its dataset differs from what the run was started with.
    pub drift: Option<String>,
    /// What the hub says.
    pub hub: HubView,
    /// Pods that do not start.
    pub waiting: Vec<Waiting>,
    /// Pods or Jobs that the API server does not take.
    pub refused: Option<Refused>,
    /// Whether the run's namespace is being deleted.
    pub is_namespace_ending: bool,
}

/// What is known of a run's datapoints.
#[derive(Debug, Clone, PartialEq)]
pub enum DatasetView {
    /// The hub has them.
    Ready {
        /// How many.
        datapoints: u64,
        /// What tells them from others.
        digest: String,
    },
    /// They cannot be used.
    Problem(Problem),
    /// The hub did not take them yet.
    Waiting,
}

/// What the hub says of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum HubView {
    /// Its sums.
    Told(Box<Aggregate>),
    /// It does not answer; one sentence.
    Away(String),
    /// It was not asked, as nothing depends on it.
    NotAsked,
}

impl HubView {
    /// The sums, where it told them.
    pub fn aggregate(&self) -> Option<&Aggregate> {
        match self {
            Self::Told(aggregate) => Some(aggregate),
            Self::Away(_) | Self::NotAsked => None,
        }
    }
}

/// What the API server does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// One word for a condition: `TemplateRefused`, `QuotaExceeded`, `PodRefused`, `NameTaken`.
    pub reason: &'static str,
    /// The API server's sentence.
    pub message: String,
    /// Asking again does not help while the spec is as it is.
    pub is_final: bool,
}

/// What the plan does not find in the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Seconds that a pod may wait before it is given up.
    pub pending_seconds: u64,
    /// Seconds that it may wait for its image.
    pub image_seconds: u64,
}

/// Makes finished pod templates: the user's, with the sidecar, for a combo.
pub trait Templates {
    /// The template of the trials of a Job.
    ///
    /// # Errors
    /// One sentence saying why the template cannot be used and what to do.
    fn trials(&self, run: &Run, spec: &AgentRunSpec, place: Place, combo: &Combo) -> Result<job::Template, String>;

    /// The template of the pod that scores outputs.
    ///
    /// # Errors
    /// As [`Templates::trials`].
    fn scoring(&self, run: &Run, spec: &AgentRunSpec) -> Result<Value, String>;
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Objects to make.
    pub create: Vec<Value>,
    /// Objects to change, for server-side apply.
    pub change: Vec<Value>,
    /// Jobs to delete, by name.
    pub delete: Vec<String>,
    /// Pods that will not start any more: told to the hub, then deleted.
    pub give_up: Vec<Waiting>,
    /// The whole status.
    pub status: Value,
    /// What people are told once.
    pub notes: Vec<Note>,
    /// When to look again, if nothing changes before.
    pub again: Option<Duration>,
}

/// Decides.
pub fn plan(run: &Run, observed: &Observed, settings: Settings, templates: &dyn Templates, now: Timestamp) -> Plan {
    let grid = match (&run.spec, &observed.dataset) {
        (Ok(spec), DatasetView::Ready { datapoints, .. }) => Grid::of(spec, *datapoints),
        _ => None,
    };
    let mut refused = observed.refused.clone();
    let judged = verdict::judge(run, observed, grid, refused.as_ref(), now);
    let (mut create, mut change) = (Vec::new(), Vec::new());
    if judged.mode == Mode::Stop {
        // Whatever became of the spec and the dataset.
        change.extend(window::stop(&observed.jobs).into_iter().filter_map(|step| changed(run, observed, step)));
    } else if let (Ok(spec), Some(grid)) = (&run.spec, grid) {
        let done = observed.hub.aggregate().map(done).unwrap_or_default();
        let number = |limit: i32| u64::try_from(limit).unwrap_or_default();
        let (limit, retries) = (number(spec.limits.parallelism).max(1), number(spec.limits.retries));
        let told = observed.hub.aggregate();
        let again = told.map(|told| again::wanted(&observed.jobs, told, &done, retries)).unwrap_or_default();
        let cells = |place: Place| again.get(&place).cloned().unwrap_or_else(|| Ranges::below(grid.completions(place.chunk)));
        for step in window::moves(grid, &observed.jobs, &done, &again, limit, judged.mode) {
            match objects_of(run, spec, cells, observed, templates, step) {
                Ok((made, changed)) => {
                    create.extend(made);
                    change.extend(changed);
                }
                Err(message) => {
                    refused = Some(Refused { reason: "TemplateRefused", message, is_final: true });
                    break;
                }
            }
        }
        if refused.is_none() && wants_scoring(spec, observed, grid) {
            match templates.scoring(run, spec) {
                Ok(template) => create.push(crate::objects::scoring::build(run, template)),
                Err(message) => refused = Some(Refused { reason: "TemplateRefused", message, is_final: true }),
            }
        }
    }
    let judged = if refused == observed.refused { judged } else { verdict::judge(run, observed, grid, refused.as_ref(), now) };
    if refused.as_ref().is_some_and(|refused| refused.is_final) {
        create.clear();
    }
    let mut delete = stale_scoring(observed);
    if observed.is_namespace_ending {
        // Kubernetes deletes pods first, and a Job holds a pod that failed until it has made the next, which it no longer can.
        create.clear();
        change.clear();
        delete = observed.jobs.values().filter(|job| !job.deleting).map(|job| job.name.clone()).collect();
    }
    let starts = !create.is_empty() || observed.jobs.values().any(|job| !job.suspended);
    let status = status::build(run, observed, grid, &judged, starts, now);
    let give_up =
        if judged.mode == Mode::Run || judged.mode == Mode::Queue { waiting::expired(&observed.waiting, settings) } else { Vec::new() };
    let notes = notes::news(&run.status, &status);
    Plan { create, change, delete, give_up, again: again(&judged, observed, grid), status, notes }
}

/// Indexes that have a final result, by Job.
pub fn done(aggregate: &Aggregate) -> BTreeMap<Place, Ranges> {
    let entries = aggregate.harvested.iter();
    entries.map(|(combo, chunk, indexes)| (Place::first(*chunk, *combo), Ranges::parse(indexes))).collect()
}

type Objects = (Option<Value>, Option<Value>);

fn objects_of(
    run: &Run,
    spec: &AgentRunSpec,
    cells: impl Fn(Place) -> Ranges,
    observed: &Observed,
    templates: &dyn Templates,
    step: Move,
) -> Result<Objects, String> {
    match step {
        Move::Create(place, window) => {
            let combos = spec.combos().map_err(|error| error.to_string())?;
            let index = usize::try_from(place.combo).unwrap_or(usize::MAX);
            let combo = combos.get(index).ok_or_else(|| format!("there is no combo {}", place.combo))?;
            let template = templates.trials(run, spec, place, &combo)?;
            Ok((Some(job::build(run, spec, place, &cells(place), window, template)), None))
        }
        Move::Set(..) => Ok((None, changed(run, observed, step))),
    }
}

fn changed(run: &Run, observed: &Observed, step: Move) -> Option<Value> {
    let Move::Set(place, window) = step else { return None };
    observed.jobs.get(&place).map(|job| job::window_patch(run, job, window))
}

/// Outputs wait for a scorer that is a container, and no Job is at it: many of them, or the last.
fn wants_scoring(spec: &AgentRunSpec, observed: &Observed, grid: Grid) -> bool {
    let Some(told) = observed.hub.aggregate() else { return false };
    let waits = told.unscored >= SCORED_TOGETHER || (told.unscored > 0 && told.finished + told.unscored >= grid.trials());
    spec.scoring.container.is_some() && waits && observed.scoring.is_none()
}

/// A scoring Job that has ended well and left outputs, as they came after it: it makes room for the next.
fn stale_scoring(observed: &Observed) -> Vec<String> {
    let waits = observed.hub.aggregate().is_some_and(|told| told.unscored > 0);
    let stale = observed.scoring.iter().filter(|scoring| waits && scoring.succeeded);
    stale.map(|scoring| scoring.name.clone()).collect()
}

fn again(judged: &verdict::Judged, observed: &Observed, grid: Option<Grid>) -> Option<Duration> {
    use agentrun_crds::status::Phase;
    let seconds = match judged.phase {
        Phase::Complete | Phase::Failed => return None,
        _ if matches!(observed.hub, HubView::Away(_)) => 5,
        Phase::Pending => 10,
        Phase::Suspended if observed.jobs.values().all(|job| job.active == 0) => 60,
        Phase::Suspended => 5,
        // A large run's sums cost the hub more, and nobody misses a second of hours.
        Phase::Running if grid.is_some_and(|grid| grid.trials() > 1000) => 2,
        Phase::Running => 1,
    };
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
