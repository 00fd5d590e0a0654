//! What a decision writes: rows with their numbers already given, so that writing them twice is writing them once.

use std::collections::BTreeMap;

use agentrun_llm::call::Outcome;
use bytes::Bytes;

/// Numbers of a run's rows are `run << RUN_BITS | n`: a run's rows lie side by side in the order they were made, and go together.
const RUN_BITS: u32 = 40;

/// The run that a row belongs to.
pub(crate) fn run_of(row: i64) -> i64 {
    row >> RUN_BITS
}

/// The numbers of a run's rows: from the first to before the last.
pub(crate) fn rows_of(run: i64) -> (i64, i64) {
    (run << RUN_BITS, (run + 1) << RUN_BITS)
}

/// Tables of JSON documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Table {
    /// By run: its names and whether it is still there ([`super::directory::RunRow`]).
    Runs,
    /// By run: what the operator registered ([`super::plan::Registered`]).
    Registrations,
    /// By run: when it last changed ([`super::run::Activity`]).
    Activities,
    /// [`super::attempt::Attempt`].
    Attempts,
    /// Trials whose result is final or waits for its score ([`super::trial::Decided`]).
    Trials,
}

impl Table {
    /// The table's name in the database.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Registrations => "registrations",
            Self::Activities => "activities",
            Self::Attempts => "attempts",
            Self::Trials => "trials",
        }
    }

    /// All of them.
    pub(crate) const ALL: [Self; 5] = [Self::Runs, Self::Registrations, Self::Activities, Self::Attempts, Self::Trials];
}

/// A call's row. What filters look at is in columns; the record's text is put together from `detail`, `request` and `response`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallRow {
    pub(crate) id: i64,
    pub(crate) attempt: i64,
    pub(crate) sequence: i64,
    pub(crate) call: [u8; 16],
    /// Microseconds since 1970.
    pub(crate) started_at: i64,
    /// Microseconds since 1970.
    pub(crate) ended_at: i64,
    pub(crate) model: String,
    pub(crate) outcome: Outcome,
    pub(crate) cached: bool,
    /// A text: the record without what the other columns say.
    pub(crate) detail: i64,
    pub(crate) request: Option<i64>,
    pub(crate) response: Option<i64>,
}

/// A stored answer's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AnswerRow {
    /// Later ones are greater.
    pub(crate) id: i64,
    pub(crate) key: [u8; 32],
    /// The run it goes with; 0 where it goes with none.
    pub(crate) run: i64,
    pub(crate) value: Bytes,
}

/// Rows to write, all or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) documents: BTreeMap<(Table, i64), String>,
    pub(crate) outputs: BTreeMap<i64, Bytes>,
    pub(crate) texts: Vec<(i64, Bytes)>,
    pub(crate) calls: Vec<CallRow>,
    pub(crate) answers: BTreeMap<[u8; 32], AnswerRow>,
}

impl Changes {
    /// Writes a document in place of an earlier one.
    pub(crate) fn document(&mut self, table: Table, id: i64, document: &impl serde::Serialize) {
        let text = serde_json::to_string(document).expect("documents have string keys and finite numbers");
        self.documents.insert((table, id), text);
    }

    /// Adds what a later decision writes.
    pub(crate) fn extend(&mut self, later: Self) {
        self.documents.extend(later.documents);
        self.outputs.extend(later.outputs);
        self.texts.extend(later.texts);
        self.calls.extend(later.calls);
        self.answers.extend(later.answers);
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it is stored answers and nothing else.
    pub(crate) fn holds_answers_alone(&self) -> bool {
        let Self { documents, outputs, texts, calls, answers } = self;
        !answers.is_empty() && documents.is_empty() && outputs.is_empty() && texts.is_empty() && calls.is_empty()
    }

    /// About how many bytes this is.
    pub(crate) fn bytes(&self) -> usize {
        let documents: usize = self.documents.values().map(|text| text.len() + 16).sum();
        let outputs: usize = self.outputs.values().map(Bytes::len).sum();
        let texts: usize = self.texts.iter().map(|(_, text)| text.len() + 16).sum();
        let answers: usize = self.answers.values().map(|row| row.value.len() + 64).sum();
        documents + outputs + texts + answers + self.calls.len() * 160
    }
}
