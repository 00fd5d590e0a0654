//! The program's answers, a line each, in the order of its questions.

use std::time::Duration;

use agentrun_protocol::{paths, score::Scored};
use bytes::Bytes;
use serde_json::Value;
use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    sync::mpsc,
    time::{Instant, timeout},
};

use crate::hub::{Ask, Hub, HubError};

/// The most bytes of an answer.
const ANSWER_BYTES: usize = 64 << 10;
/// Scores that are told at once, and how long the first of them waits for the others.
const BATCH: (usize, Duration) = (100, Duration::from_millis(200));
/// Between two looks whether an answer is due at all.
const LOOK: Duration = Duration::from_secs(1);
/// What is repeated of a line that is no answer.
const SHOWN: usize = 200;

/// Why answers cannot be taken.
#[derive(Debug, Error)]
pub enum AnswerError {
    /// The program cannot be read.
    #[error("read the scoring program's answers")]
    Read(#[source] std::io::Error),
    /// A line is no answer: which questions the next ones answer is not known any more.
    #[error(
        "the scoring program printed a line that is no answer: `{0}`. Print exactly one line for each line read, a number from 0 to 1 or \
         {{\"score\": 0.5, \"reason\": \"...\"}}, and everything else on stderr"
    )]
    NoAnswer(String),
    /// A line came too early.
    #[error("the scoring program printed an answer to nothing: `{0}`. Print exactly one line for each line read")]
    TooMany(String),
    /// It ended early.
    #[error("the scoring program ended before it had answered everything: {0} outputs have no score yet")]
    TooFew(usize),
    /// It ended before the last question.
    #[error("the scoring program ended before it was asked about every output: read lines until standard input ends")]
    Early,
    /// It neither answers nor ends.
    #[error("the scoring program gave no answer for {} s, and was ended", .0.as_secs())]
    Silent(Duration),
    /// The hub does not take scores.
    #[error("tell the hub the scores")]
    Hub(#[source] HubError),
}

/// Reads an answer for each trial that comes from `asked`, and tells the hub. Returns how many there were. No answer may take longer than `patience`.
pub(super) async fn answers(
    hub: &Hub,
    program: impl AsyncRead + Unpin,
    mut asked: mpsc::Receiver<i64>,
    patience: Duration,
) -> Result<u64, AnswerError> {
    let mut lines = Lines { from: BufReader::new(program), line: Vec::new() };
    let (mut batch, mut count) = (Vec::new(), 0);
    let ended = loop {
        if batch.len() >= BATCH.0 {
            tell(hub, &mut batch).await?;
        }
        let line = match batch.is_empty() {
            true => lines.next_within(patience, &asked).await,
            false => match timeout(BATCH.1, lines.next()).await {
                Ok(line) => line,
                Err(_) => {
                    tell(hub, &mut batch).await?;
                    continue;
                }
            },
        };
        match line.and_then(|line| line.map(|line| answer(line, &mut asked)).transpose()) {
            Ok(Some(scored)) => batch.push(scored),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
        count += 1;
    };
    // What was answered before something went wrong is good.
    tell(hub, &mut batch).await?;
    ended?;
    match asked.len() {
        0 => Ok(count),
        left => Err(AnswerError::TooFew(left)),
    }
}

/// Lines of bounded length, without their ends; empty ones are left out.
struct Lines<R> {
    from: BufReader<R>,
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// The next line, where an answer or the program's end is due and does not take longer than `patience`.
    async fn next_within(&mut self, patience: Duration, asked: &mpsc::Receiver<i64>) -> Result<Option<String>, AnswerError> {
        let mut since = Instant::now();
        loop {
            match timeout(LOOK.min(patience), self.next()).await {
                Ok(line) => return line,
                // All is answered, and the next question still on its way.
                Err(_) if asked.is_empty() && !asked.is_closed() => since = Instant::now(),
                Err(_) if since.elapsed() >= patience => return Err(AnswerError::Silent(patience)),
                Err(_) => {}
            }
        }
    }

    /// The next line; none at the end. Whoever stops waiting for it loses nothing.
    async fn next(&mut self) -> Result<Option<String>, AnswerError> {
        loop {
            let available = self.from.fill_buf().await.map_err(AnswerError::Read)?;
            let (end, ended) = match available.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (available.len(), available.is_empty()),
            };
            self.line.extend_from_slice(&available[..end]);
            self.from.consume(end);
            let text = || shown(&String::from_utf8_lossy(&self.line));
            if self.line.len() > ANSWER_BYTES {
                return Err(AnswerError::NoAnswer(text()));
            }
            if ended {
                let line = String::from_utf8(std::mem::take(&mut self.line));
                let line = line.map_err(|error| AnswerError::NoAnswer(shown(&error.to_string())))?;
                match line.trim() {
                    "" if end == 0 => return Ok(None),
                    "" => {}
                    line => return Ok(Some(line.to_owned())),
                }
            }
        }
    }
}

/// The score that a line is for the trial whose turn it is. What a number or an object says is for the hub to read.
fn answer(line: String, asked: &mut mpsc::Receiver<i64>) -> Result<Scored, AnswerError> {
    if !matches!(serde_json::from_str(&line), Ok(Value::Number(_) | Value::Object(_))) {
        return Err(AnswerError::NoAnswer(shown(&line)));
    }
    let trial = asked.try_recv().map_err(|_| AnswerError::TooMany(shown(&line)))?;
    Ok(Scored { trial, answer: Some(line), score: None, reason: None })
}

fn shown(text: &str) -> String {
    text.trim().chars().take(SHOWN).collect()
}

async fn tell(hub: &Hub, batch: &mut Vec<Scored>) -> Result<(), AnswerError> {
    let mut lines = Vec::new();
    for scored in batch.drain(..) {
        serde_json::to_writer(&mut lines, &scored).map_err(|error| AnswerError::Hub(HubError::Answer(error.to_string())))?;
        lines.push(b'\n');
    }
    if lines.is_empty() {
        return Ok(());
    }
    let lines = Bytes::from(lines);
    hub.insist(|| Ask::lines(paths::SCORES, lines.clone(), None)).await.map(drop).map_err(AnswerError::Hub)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(trials: &[i64]) -> mpsc::Receiver<i64> {
        let (send, asked) = mpsc::channel(16);
        for trial in trials {
            send.try_send(*trial).unwrap();
        }
        asked
    }

    #[tokio::test]
    async fn lines_are_bounded_and_the_last_needs_no_end() {
        let lines = async |text: &[u8]| {
            let mut lines = Lines { from: BufReader::with_capacity(3, text), line: Vec::new() };
            let mut all = Vec::new();
            while let Some(line) = lines.next().await? {
                all.push(line);
            }
            Ok::<_, AnswerError>(all)
        };
        assert_eq!(lines(b"1\n\n  0.5 \r\n{\"score\": 1}").await.unwrap(), ["1", "0.5", "{\"score\": 1}"]);
        assert_eq!(lines(b"").await.unwrap(), [""; 0]);
        assert!(matches!(lines(&[b'x'; ANSWER_BYTES + 1]).await, Err(AnswerError::NoAnswer(text)) if text.len() == SHOWN));
        assert!(matches!(lines(b"\xff\n").await, Err(AnswerError::NoAnswer(_))));
    }

    #[tokio::test]
    async fn a_program_is_waited_for_while_nothing_is_due_and_a_while_longer() {
        let patience = Duration::from_millis(20);
        let (mut program, ours) = tokio::io::duplex(64);
        let mut lines = Lines { from: BufReader::new(ours), line: Vec::new() };
        let (ask, asked) = mpsc::channel(1);
        let late = async {
            tokio::time::sleep(10 * patience).await;
            tokio::io::AsyncWriteExt::write_all(&mut program, b"1\n0.5").await
        };
        let (line, written) = tokio::join!(lines.next_within(patience, &asked), late);
        written.unwrap();
        assert_eq!(line.unwrap().as_deref(), Some("1"));
        ask.try_send(7).unwrap();
        // Half a line is no answer.
        assert!(matches!(lines.next_within(patience, &asked).await, Err(AnswerError::Silent(_))));
        drop((ask, asked));
        let (ask, asked) = mpsc::channel(1);
        drop(ask);
        // All is answered, and it does not end.
        assert!(matches!(lines.next_within(patience, &asked).await, Err(AnswerError::Silent(_))));
        drop(program);
        assert_eq!(lines.next_within(patience, &asked).await.unwrap().as_deref(), Some("0.5"));
        let said = AnswerError::Silent(Duration::from_secs(600)).to_string();
        assert!(said.contains("no answer for 600 s"), "{said}");
    }

    #[test]
    fn an_answer_is_a_number_or_an_object_for_the_next_question() {
        let mut asked = asked(&[7, 3]);
        let mut one = |line: &str| answer(line.to_owned(), &mut asked);
        let scored = one("0.5").unwrap();
        assert_eq!((scored.trial, scored.answer.as_deref(), scored.score), (7, Some("0.5"), None));
        for talk in ["loading model", "nan", "true", "null", "[1]", "1 2", "\"1\""] {
            assert!(matches!(one(talk), Err(AnswerError::NoAnswer(_))), "{talk}");
        }
        assert_eq!(one("{\"reason\": \"no score\"}").unwrap().trial, 3);
        assert!(matches!(one("1"), Err(AnswerError::TooMany(_))));
    }
}
