//! Scores an output: here, or by the manifest's command.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use agentrun_eval::{
    dataset::Datapoint,
    score::{CommandScorer, Score, ScoreError, Scorer},
};

use super::{
    environment::Variables,
    process::{self, End, Keep, Task, last_words},
    stop::Stop,
};

/// How long a scoring command may take.
const TIMEOUT: Duration = Duration::from_secs(300);
/// How much it may print.
const ANSWER_BYTES: usize = 64 << 10;

/// What makes a number of an output.
#[derive(Clone, Debug)]
pub(crate) enum Scoring {
    /// A pure function.
    Builtin(Scorer),
    /// A program in a folder.
    Command { scorer: CommandScorer, folder: PathBuf },
}

/// Why there is no score. Never the agent's fault.
#[derive(Debug)]
pub(crate) enum NoScore {
    /// A stop was asked for.
    Stopped,
    /// The scorer failed, in a sentence.
    Failed(String),
}

impl From<ScoreError> for NoScore {
    fn from(error: ScoreError) -> Self {
        Self::Failed(match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        })
    }
}

impl Scoring {
    /// Scores one output. A command gets `environment` as it is: its own calls are not the trial's.
    ///
    /// # Errors
    /// See [`NoScore`].
    pub(crate) async fn score(&self, datapoint: &Datapoint, output: &str, environment: &Variables, stop: &Stop) -> Result<Score, NoScore> {
        let (scorer, folder) = match self {
            Self::Builtin(scorer) => return Ok(scorer.score(datapoint, output)?),
            Self::Command { scorer, folder } => (scorer, folder),
        };
        let task = Task {
            command: scorer.argv().iter().map(OsString::from).collect(),
            folder: folder.clone(),
            environment: environment.clone().into_iter().collect(),
            input: Some(scorer.request(datapoint, output).into_bytes()),
            timeout: TIMEOUT,
            stdout: Keep::Whole(ANSWER_BYTES),
        };
        let ended = process::run(&task, stop).await.map_err(|error| {
            NoScore::Failed(format!("{error}: {}", std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default()))
        })?;
        let said = last_words(&ended.stderr).map(|words| format!(": {words}")).unwrap_or_default();
        let problem = match ended.end {
            End::Exit(0) => return Ok(scorer.answer(&String::from_utf8_lossy(&ended.stdout))?),
            End::Stopped => return Err(NoScore::Stopped),
            End::Exit(code) => format!("ended with exit code {code}{said}"),
            End::Signal(signal) => format!("died of signal {signal}{said}"),
            End::TimedOut => format!("took longer than {} s", TIMEOUT.as_secs()),
            End::TooMuchOutput => format!("printed more than {} KiB", ANSWER_BYTES >> 10),
        };
        Err(NoScore::Failed(format!("the scoring command {problem}")))
    }
}
