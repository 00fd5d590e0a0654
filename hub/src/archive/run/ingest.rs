//! Records and outputs of an attempt.

use agentrun_protocol::trial::End;
use bytes::Bytes;
use jiff::Timestamp;

use super::{Changes, RunState, Stands, observe::MESSAGE_CHARS};
use crate::archive::{
    change::CallRow,
    error::ArchiveError,
    lines::{Parsed, Piece},
    sums::Sums,
    types::{AttemptId, OUTPUT_BYTES},
};

/// Outputs up to this size stay in memory until they are scored.
const HELD_BYTES: usize = 16 << 10;
/// No first batch begins with a later record: numbers behind it are left for all that may come.
const LATEST: u64 = 1 << 62;

impl RunState {
    /// Takes the records `first`, `first + 1`, … of an attempt; gives the number up to which all are stored. Those that are stored already
    /// are skipped. The first batch of a pod that others made may begin with any: its earlier records went to a run that is gone.
    pub(crate) fn ingest(
        &mut self,
        id: AttemptId,
        first: u64,
        records: Vec<Parsed>,
        now: Timestamp,
    ) -> Result<(u64, Changes), ArchiveError> {
        let attempt = self.attempt(id)?;
        let adopted = attempt.trial.is_none() && attempt.acknowledged == 0 && (2..=LATEST).contains(&first) && !records.is_empty();
        let acknowledged = if adopted { first - 1 } else { attempt.acknowledged };
        if first == 0 || first > acknowledged + 1 {
            return Err(ArchiveError::Gap { first, acknowledged });
        }
        let skipped = usize::try_from(acknowledged + 1 - first).unwrap_or(usize::MAX);
        if attempt.end.is_some() && records.len() > skipped {
            return Err(ArchiveError::Ended { last: acknowledged });
        }
        let mut changes = Changes::default();
        let (mut sequence, mut sums, mut span) = (acknowledged, Sums::default(), attempt.span);
        for record in records.into_iter().skip(skipped) {
            sequence += 1;
            sums.add(&record.sums);
            let (earliest, latest) = span.unwrap_or((record.started_at, record.ended_at));
            span = Some((earliest.min(record.started_at), latest.max(record.ended_at)));
            let row = self.call_row(id, sequence, record, &mut changes);
            changes.calls.push(row);
        }
        if sequence > acknowledged {
            self.sums.add(&sums);
            let attempt = self.attempt_mut(id)?;
            attempt.sums.add(&sums);
            (attempt.acknowledged, attempt.span) = (sequence, span);
            self.write_attempt(id.0, &mut changes);
            self.note_activity(now, &mut changes);
            self.changed();
        }
        Ok((sequence, changes))
    }

    fn call_row(&mut self, attempt: AttemptId, sequence: u64, record: Parsed, changes: &mut Changes) -> CallRow {
        let id = self.next_call;
        self.next_call += 1;
        // Only hits of one answer have equal details.
        let detail = if record.cached { self.known_text(record.detail, changes) } else { self.new_text(record.detail.text, changes) };
        CallRow {
            id,
            attempt: attempt.0,
            sequence: i64::try_from(sequence).unwrap_or(i64::MAX),
            call: record.call,
            started_at: record.started_at,
            ended_at: record.ended_at,
            model: record.model,
            outcome: record.outcome,
            cached: record.cached,
            detail,
            request: record.request.map(|piece| self.known_text(piece, changes)),
            response: record.response.map(|piece| self.known_text(piece, changes)),
        }
    }

    /// The number of a text's row, which is written unless it is known to be there.
    fn known_text(&mut self, piece: Piece, changes: &mut Changes) -> i64 {
        if let Some(id) = self.known.get(&piece.digest) {
            return *id;
        }
        let id = self.new_text(piece.text, changes);
        self.known.insert(piece.digest, id);
        id
    }

    fn new_text(&mut self, text: Bytes, changes: &mut Changes) -> i64 {
        let id = self.next_text;
        self.next_text += 1;
        changes.texts.push((id, text));
        id
    }

    /// Takes the output so far. After the attempt's end it stays as it is.
    pub(crate) fn put_output(&mut self, id: AttemptId, output: Bytes, now: Timestamp) -> Result<Changes, ArchiveError> {
        if output.len() > OUTPUT_BYTES {
            return Err(ArchiveError::TooLarge { what: "the output", limit: OUTPUT_BYTES });
        }
        let mut changes = Changes::default();
        let attempt = self.attempt_mut(id)?;
        if attempt.end.is_none() {
            attempt.output = Some(output.len() as u64);
            attempt.held = (output.len() <= HELD_BYTES).then(|| output.clone());
            changes.outputs.insert(id.0, output);
            self.write_attempt(id.0, &mut changes);
            self.note_activity(now, &mut changes);
        }
        Ok(changes)
    }

    /// Ends an attempt, and decides on its trial where that is possible now.
    pub(crate) fn end(&mut self, id: AttemptId, mut end: End, now: Timestamp) -> Result<Changes, ArchiveError> {
        let mut changes = Changes::default();
        let attempt = self.attempt_mut(id)?;
        if attempt.end.is_some() {
            return Ok(changes);
        }
        if end.last_sequence > attempt.acknowledged {
            let message = format!("records up to {} are to come, and those up to {} have arrived", end.last_sequence, attempt.acknowledged);
            return Err(ArchiveError::NotYet(message));
        }
        if end.output == agentrun_protocol::trial::Output::Present && attempt.output.is_none() {
            return Err(ArchiveError::NotYet("its output has not arrived".to_owned()));
        }
        let trial = attempt.trial;
        end.output_problem = end.output_problem.map(|problem| problem.chars().take(MESSAGE_CHARS).collect());
        self.failed_handshakes = self.failed_handshakes.saturating_add(end.failed_handshakes);
        let attempt = self.attempt_mut(id)?;
        attempt.end = Some(end);
        attempt.ended.get_or_insert(now.as_microsecond());
        self.write_attempt(id.0, &mut changes);
        self.changed();
        if let Some(trial) = trial.filter(|trial| self.stands(*trial) == Stands::Open) {
            self.judge_attempt(trial, id.0, now, &mut changes);
        }
        self.note_activity(now, &mut changes);
        Ok(changes)
    }
}
