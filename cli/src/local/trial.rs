//! One trial, from its folder to its score.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agentrun_eval::{
    combo::Combo,
    dataset::Datapoint,
    trial::{Failure, FailureReason, Measures, Observation, TrialKey, TrialState},
};
use agentrun_llm::redact;
use agentrun_protocol::sentence;
use agentrun_sidecar::{Session, Sidecar, Totals};
use nix::sys::signal::Signal;

use super::{
    environment::{Interception, Variables, overlaid},
    exchange,
    leftover::TRIAL_FOLDER,
    plan::{Input, Output, Plan},
    process::{self, End, Ended, Keep, Task, last_words},
    scoring::NoScore,
    stop::Stop,
};
use crate::settings::make_private;

/// How long calls that are still running when the agent has ended are waited for.
const CALLS_GRACE: Duration = Duration::from_secs(5);

/// What trials share.
pub(crate) struct Bench {
    pub(crate) plan: Arc<Plan>,
    pub(crate) sidecar: Sidecar,
    pub(crate) interception: Interception,
    /// What agents inherit.
    pub(crate) inherited: Variables,
    /// Where the trials' own folders are made.
    pub(crate) folder: PathBuf,
    pub(crate) stop: Stop,
}

/// How an attempt at a trial ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// With a result that stands.
    Result(Box<Outcome>),
    /// By a fault of what is around the agent; it may be tried again.
    Fault(Failure),
    /// By a stop: it counts for nothing.
    Stopped,
}

/// A result.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) observation: Observation,
    pub(crate) output: Option<String>,
    pub(crate) score_reason: Option<String>,
}

impl Bench {
    /// Runs one trial. Nothing of it is left when this returns: no process, no port, no folder.
    pub(crate) async fn run(&self, key: TrialKey, attempt: u32) -> Ending {
        let (Some(combo), Some(datapoint)) = (self.plan.combos.get(key.combo), self.plan.dataset.get(key.datapoint)) else {
            return Ending::Fault(fault(FailureReason::Spawn, "the trial is not in the plan".to_owned()));
        };
        let folder = self.folder.join(format!("{}-{}-{}", key.combo, key.datapoint, key.sample));
        let ending = match self.prepare(&folder, datapoint) {
            Ok(()) => self.attempt(&combo, datapoint, key.sample, attempt, &folder).await,
            Err(error) => Ending::Fault(fault(FailureReason::Spawn, format!("making the trial's folder: {error}"))),
        };
        // What cannot be removed is removed with the state folder; the trial's result stands.
        drop(fs::remove_dir_all(&folder));
        ending
    }

    fn prepare(&self, folder: &Path, datapoint: &Datapoint) -> io::Result<()> {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => make_private(folder)?,
        }
        match self.plan.input {
            Input::File => fs::write(folder.join("input"), datapoint.input_text()),
            Input::Stdin | Input::Env(_) => Ok(()),
        }
    }

    async fn attempt(&self, combo: &Combo, datapoint: &Datapoint, sample: u32, attempt: u32, folder: &Path) -> Ending {
        let session = match self.sidecar.open(self.session(combo, datapoint, sample, attempt)).await {
            Ok(session) => session,
            Err(error) => return Ending::Fault(fault(FailureReason::SidecarLost, sentence(&error))),
        };
        let under = overlaid(&self.inherited, self.interception.variables(session.address(), &self.inherited));
        let under = overlaid(&under, self.variables(combo, datapoint, sample, folder));
        let (command, environment) = self.plan.agent.start(under);
        let task = Task {
            command,
            folder: self.plan.agent.folder.clone(),
            environment: environment.into_iter().collect(),
            input: matches!(self.plan.input, Input::Stdin).then(|| datapoint.input_text().into_bytes()),
            timeout: self.plan.timeout,
            stdout: match self.plan.output {
                Output::File => Keep::Tail(process::TAIL_BYTES),
                Output::Stdout => Keep::Whole(exchange::OUTPUT_BYTES),
            },
        };
        let ended = process::run(&task, &self.stop).await;
        let totals = session.close(CALLS_GRACE).await;
        match ended {
            // The program was there when the run began: the machine is short of something, or somebody has taken the program away.
            Err(error) => Ending::Fault(fault(FailureReason::Spawn, sentence(&error))),
            Ok(Ended { end: End::Stopped, .. }) => Ending::Stopped,
            Ok(ended) => self.judge(ended, &totals, datapoint, folder).await,
        }
    }

    fn session(&self, combo: &Combo, datapoint: &Datapoint, sample: u32, attempt: u32) -> Session {
        Session {
            run: Some(self.plan.name.clone()),
            data_id: Some(datapoint.id.clone()),
            combo_id: Some(combo.id.clone()),
            agent_id: None,
            sample,
            attempt,
            scope: self.plan.scope.clone(),
            replaces: self.plan.replacements(combo),
            by_credential: false,
            cache: self.plan.cache,
            router: self.plan.router.clone(),
            client: None,
        }
    }

    fn variables(&self, combo: &Combo, datapoint: &Datapoint, sample: u32, folder: &Path) -> Variables {
        let mut variables = Variables::new();
        let mut set = |name: &str, value: &str| variables.insert(name.into(), value.into());
        set("AGENTRUN_RUN", &self.plan.name);
        set("AGENTRUN_DATA_ID", &datapoint.id);
        set("AGENTRUN_COMBO_ID", &combo.id);
        set("AGENTRUN_SAMPLE", &sample.to_string());
        for role in &self.plan.manifest.spec.roles {
            if let Some(model) = combo.models.get(&role.name) {
                set(&role.env_name(), model);
            }
        }
        if let Input::Env(name) = &self.plan.input {
            set(name, &datapoint.input_text());
        }
        let mut set = |name: &str, path: PathBuf| variables.insert(name.into(), path.into());
        set(TRIAL_FOLDER, folder.join("."));
        if matches!(self.plan.input, Input::File) {
            set("AGENTRUN_INPUT_FILE", folder.join("input"));
        }
        if matches!(self.plan.output, Output::File) {
            set("AGENTRUN_OUTPUT_FILE", folder.join("output"));
        }
        variables
    }

    /// What an ended process means. A trial whose every call was left without an answer says nothing about its models.
    async fn judge(&self, ended: Ended, totals: &Totals, datapoint: &Datapoint, folder: &Path) -> Ending {
        let measures = measures(&ended, totals);
        if totals.calls > 0 && totals.unanswered == totals.calls {
            let message = format!("none of the trial's {} calls was answered (`agentrun calls` says why)", totals.calls);
            return Ending::Fault(fault(FailureReason::UpstreamUnreachable, message));
        }
        let output = match failure(&ended, self.plan.timeout) {
            Some(failure) => Err(failure),
            None => match self.plan.output {
                Output::File => exchange::read_output(&folder.join("output")),
                Output::Stdout => exchange::text(ended.stdout),
            },
        };
        let (state, output, score_reason) = match output {
            Err(failure) => (TrialState::Failed(failure), None, None),
            Ok(output) if totals.calls == 0 => (TrialState::Unobserved, Some(output), None),
            Ok(output) => {
                let environment = overlaid(&self.inherited, Variables::from([(TRIAL_FOLDER.into(), folder.join(".").into())]));
                match self.plan.scoring.score(datapoint, &output, &environment, &self.stop).await {
                    Ok(score) => (TrialState::Succeeded { score: score.value }, Some(output), score.reason),
                    Err(NoScore::Stopped) => return Ending::Stopped,
                    Err(NoScore::Failed(message)) => return Ending::Fault(fault(FailureReason::Scoring, message)),
                }
            }
        };
        Ending::Result(Box::new(Outcome { observation: Observation { state, measures }, output, score_reason }))
    }
}

fn measures(ended: &Ended, totals: &Totals) -> Measures {
    let priced = totals.unpriced == 0 && totals.unreadable == 0;
    Measures {
        latency_seconds: ended.wall.as_secs_f64() + totals.cached_seconds,
        usd: priced.then(|| totals.usd + totals.saved_usd),
        spent_usd: totals.usd,
        saved_usd: totals.saved_usd,
        calls: totals.calls,
        cached: totals.cached,
        failed: totals.failed,
        unreadable: totals.unreadable,
        unpriced: totals.unpriced,
    }
}

/// What the agent itself did wrong, if anything.
fn failure(ended: &Ended, timeout: Duration) -> Option<Failure> {
    let said = last_words(&ended.stderr).map(|words| format!(": {}", redact::text(&words))).unwrap_or_default();
    let (reason, message) = match ended.end {
        End::Exit(0) | End::Stopped => return None,
        End::Exit(code) => (FailureReason::AgentExit, format!("exit code {code}{said}")),
        End::Signal(signal) => {
            let name = Signal::try_from(signal).map_or("unknown", Signal::as_str);
            (FailureReason::AgentSignal, format!("killed by signal {signal} ({name}){said}"))
        }
        End::TimedOut => (FailureReason::Timeout, format!("ran longer than {} s{said}", timeout.as_secs())),
        End::TooMuchOutput => return Some(exchange::too_large()),
    };
    Some(Failure { reason, message })
}

fn fault(reason: FailureReason, message: String) -> Failure {
    Failure { reason, message }
}
