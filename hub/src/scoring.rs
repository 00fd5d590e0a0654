//! Scores for outputs: by a built-in scorer here, or as a container of the user's posted them.

use agentrun_eval::{
    dataset::Datapoint,
    score::{CommandScorer, Score, ScoreError, Scorer},
};
use agentrun_protocol::score::{Item, Question, Scored};

use crate::archive::run::ScoreResult;

/// The longest reason that is kept, in characters.
const REASON_CHARS: usize = 1000;

/// Scores an output.
pub(crate) fn builtin(scorer: &Scorer, datapoint: &Datapoint, output: &[u8]) -> ScoreResult {
    let output = std::str::from_utf8(output).map_err(|error| format!("the output is not UTF-8: {error}"))?;
    scorer.score(datapoint, output).map(short).map_err(chain)
}

/// What a scoring container's program is asked about an output.
pub(crate) fn item(trial: u64, datapoint: &Datapoint, output: &[u8]) -> Item {
    Item {
        trial: i64::try_from(trial).unwrap_or(i64::MAX),
        question: Question {
            input: datapoint.input.clone(),
            expected: datapoint.expected.clone(),
            output: String::from_utf8_lossy(output).into_owned(),
            metadata: datapoint.metadata.clone(),
        },
    }
}

/// Reads what a scoring container posted: the line that its program printed, else a score, else why there is none.
pub(crate) fn posted(scored: Scored) -> ScoreResult {
    let reason = scored.reason.map(|reason| reason.chars().take(REASON_CHARS).collect::<String>());
    match (scored.answer, scored.score) {
        (Some(answer), _) => {
            let reader = CommandScorer::new(vec!["score".to_owned()]).expect("a name is given");
            reader.answer(&answer).map(short).map_err(chain)
        }
        (None, Some(value)) if (0.0..=1.0).contains(&value) => Ok(Score { value, reason }),
        (None, Some(value)) => Err(format!("the score {value} is not from 0 to 1")),
        (None, None) => Err(reason.unwrap_or_else(|| "the scoring container gave no score".to_owned())),
    }
}

fn short(score: Score) -> Score {
    Score { reason: score.reason.map(|reason| reason.chars().take(REASON_CHARS).collect()), ..score }
}

fn chain(error: ScoreError) -> String {
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
