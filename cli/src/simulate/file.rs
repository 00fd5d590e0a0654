//! The simulation file.

use std::{
    io,
    path::{Path, PathBuf},
};

use indexmap::IndexMap;
use serde::Deserialize;

use crate::bounded;

/// The model that stands for all that are not named.
const ANY: &str = "*";
/// The largest file.
const FILE_BYTES: u64 = 1 << 20;

/// What a simulation answers.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Simulation {
    /// Another seed gives other mistakes.
    #[serde(default)]
    pub(crate) seed: u64,
    /// The text of an answer, `{answer}` being what is answered: `ANSWER: {answer}`.
    #[serde(default = "bare_answer")]
    pub(crate) answer: String,
    /// What each model is like; `*` stands for all others.
    pub(crate) models: IndexMap<String, Model>,
}

/// What a model is like.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Model {
    /// How often it answers with the datapoint's expected value, from 0 to 1.
    pub(crate) accuracy: f64,
    /// Mean seconds of an answer; each one takes from 0.7 to 1.3 of it.
    #[serde(default)]
    pub(crate) latency_seconds: f64,
    /// Mean output tokens of an answer, for its usage and price; each one has from 0.7 to 1.3 of it.
    #[serde(default = "some_tokens")]
    pub(crate) output_tokens: u32,
}

fn bare_answer() -> String {
    "{answer}".to_owned()
}

fn some_tokens() -> u32 {
    100
}

/// A simulation file that is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SimulationError {
    #[error(
        "reading the simulation file {}: write one beside the manifest (see docs/cli.md), or name it with --simulation",
        path.display()
    )]
    Read { path: PathBuf, source: io::Error },
    #[error("the simulation file {} is larger than 1 MiB", path.display())]
    TooLarge { path: PathBuf },
    #[error("the simulation file {}: {reason}", path.display())]
    Invalid { path: PathBuf, reason: String },
}

impl Simulation {
    /// Reads a file. Its text is returned too, as a part of what a run is.
    ///
    /// # Errors
    /// It cannot be read, is no simulation, or holds a number out of its bounds.
    pub(crate) fn read(path: &Path) -> Result<(Self, String), SimulationError> {
        let text = bounded::text(path, FILE_BYTES).map_err(|source| match source.kind() {
            io::ErrorKind::FileTooLarge => SimulationError::TooLarge { path: path.to_owned() },
            _ => SimulationError::Read { path: path.to_owned(), source },
        })?;
        let simulation = Self::parse(&text).map_err(|reason| SimulationError::Invalid { path: path.to_owned(), reason })?;
        Ok((simulation, text))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let simulation: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        if simulation.models.is_empty() {
            return Err("models: name at least one, or `\"*\"` for all".to_owned());
        }
        if !simulation.answer.contains("{answer}") {
            return Err("answer: the text must hold `{answer}`".to_owned());
        }
        for (name, model) in &simulation.models {
            if !(0.0..=1.0).contains(&model.accuracy) {
                return Err(format!("models.{name}.accuracy: {} is not from 0 to 1", model.accuracy));
            }
            if !(0.0..=600.0).contains(&model.latency_seconds) {
                return Err(format!("models.{name}.latencySeconds: {} is not from 0 to 600", model.latency_seconds));
            }
            if !(1..=1_000_000).contains(&model.output_tokens) {
                return Err(format!("models.{name}.outputTokens: {} is not from 1 to 1000000", model.output_tokens));
            }
        }
        Ok(simulation)
    }

    /// What a model is like, if the file says so.
    pub(crate) fn model(&self, name: &str) -> Option<&Model> {
        self.models.get(name).or_else(|| self.models.get(ANY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_models_and_what_is_left_out_has_a_default() {
        let text = "seed: 7\nmodels:\n  gpt-4.1: {accuracy: 0.9, latencySeconds: 0.2, outputTokens: 50}\n  '*': {accuracy: 0.5}\n";
        let simulation = Simulation::parse(text).unwrap();
        assert_eq!((simulation.seed, simulation.answer.as_str()), (7, "{answer}"));
        assert_eq!(simulation.model("gpt-4.1").unwrap().output_tokens, 50);
        assert_eq!(simulation.model("other"), Some(&Model { accuracy: 0.5, latency_seconds: 0.0, output_tokens: 100 }));
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let table = [
            ("", "end of input"),
            ("models: {}", "at least one"),
            ("models: {a: {accuracy: 1.5}}", "models.a.accuracy: 1.5 is not from 0 to 1"),
            ("models: {a: {accuracy: .nan}}", "models.a.accuracy"),
            ("models: {a: {accuracy: 1, latencySeconds: -1}}", "latencySeconds"),
            ("models: {a: {accuracy: 1, outputTokens: 0}}", "outputTokens"),
            ("models: {a: {acuracy: 1}}", "acuracy"),
            ("models: {a: {accuracy: 1}}\nanswer: 'no'", "{answer}"),
            ("[1", "line"),
        ];
        for (text, part) in table {
            let reason = Simulation::parse(text).unwrap_err();
            assert!(reason.contains(part), "{reason} lacks {part}");
        }
    }
}
