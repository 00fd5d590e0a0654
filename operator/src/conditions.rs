//! Kubernetes' conditions: what holds of a run, since when, and why. Pure.

use agentrun_crds::status::Condition;

/// Whether something holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It does.
    True,
    /// It does not.
    False,
    /// It cannot be said yet.
    Unknown,
}

impl State {
    /// As Kubernetes writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What is said of one condition, without its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it holds.
    pub state: State,
    /// Why, as one word.
    pub reason: String,
    /// Why, as a sentence.
    pub message: String,
}

impl Verdict {
    /// A verdict.
    pub fn new(state: State, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { state, reason: reason.into(), message: message.into() }
    }

    /// The condition: its time is the one before unless the state has changed.
    pub fn condition(self, kind: &str, before: Option<&Condition>, generation: i64, now: &str) -> Condition {
        let since = before.filter(|before| before.status == self.state.word()).map_or(now, |before| &before.last_transition_time);
        Condition {
            kind: kind.to_owned(),
            status: self.state.word().to_owned(),
            observed_generation: Some(generation),
            last_transition_time: since.to_owned(),
            reason: self.reason,
            message: self.message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_changes_with_the_state_and_with_nothing_else() {
        let first = Verdict::new(State::True, "Running", "a").condition("Progressing", None, 1, "t1");
        assert_eq!((first.last_transition_time.as_str(), first.observed_generation), ("t1", Some(1)));
        let second = Verdict::new(State::True, "Scoring", "b").condition("Progressing", Some(&first), 2, "t2");
        assert_eq!((second.last_transition_time.as_str(), second.reason.as_str(), second.observed_generation), ("t1", "Scoring", Some(2)));
        let third = Verdict::new(State::False, "Complete", "c").condition("Progressing", Some(&second), 2, "t3");
        assert_eq!(third.last_transition_time, "t3");
    }
}
