//! Questions about the records of this gateway's life, answered from the journal.

use std::{
    borrow::Cow,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{body::Body, extract::State as Shared, response::Response};
use bytes::Bytes;
use http::{HeaderValue, Uri, header};
use http_body::Frame;
use indexmap::IndexMap;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::spawn_blocking,
};
use url::form_urlencoded;

use super::{JSON, State, answer, id, refusal::Refusal, shape};
use crate::journal::{JournalError, Reader, Wanted};

/// Questions that are answered at a time, each on a thread of its own.
const QUESTIONS: usize = 16;
/// How much of an answer is sent at once.
const CHUNK: usize = 64 << 10;
/// A client that takes nothing for so long gets no more.
const STALLED: Duration = Duration::from_secs(60);

/// The records of this gateway's life.
pub(super) struct Records {
    journal: PathBuf,
    /// The run that calls belong to: no other process, and no earlier one, has it.
    life: String,
    readers: Mutex<Vec<Reader>>,
    room: Arc<Semaphore>,
}

impl Records {
    pub(super) fn new(journal: PathBuf) -> Self {
        let life = format!("serve-{}", uuid::Uuid::now_v7());
        Self { journal, life, readers: Mutex::default(), room: Arc::new(Semaphore::new(QUESTIONS)) }
    }

    /// The run of a session, in the journal: a client may give it one of its own.
    pub(super) fn run(&self, own: Option<&str>) -> String {
        own.map_or_else(|| self.life.clone(), |own| format!("{}/{own}", self.life))
    }

    /// The runs of sessions that were given this one, or of all.
    fn runs(&self, own: Option<&str>) -> (String, String) {
        match own {
            Some(own) => (self.run(Some(own)), self.run(Some(own))),
            None => (self.life.clone(), format!("{}/\u{10ffff}", self.life)),
        }
    }

    fn reader(&self) -> Result<Reader, JournalError> {
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| Reader::open(&self.journal), Ok)
    }

    fn give_back(&self, reader: Reader) {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
    }
}

/// What a question asks for beside the records themselves.
#[derive(Debug, PartialEq)]
struct Page {
    offset: usize,
    limit: Option<usize>,
    /// Whether whole records are wanted, and not AgentOpt's.
    whole: bool,
}

/// Reads a question: of repeated parameters the first counts, unknown ones do not matter.
fn question(uri: &Uri, records: &Records) -> Result<(Wanted, Page), Refusal> {
    let mut given: IndexMap<Cow<'_, str>, Cow<'_, str>> = IndexMap::new();
    for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        given.entry(name).or_insert(value);
    }
    let text = |name: &str| given.get(name).map(|value| id::of_text(value));
    let number = |name: &str| -> Result<Option<usize>, Refusal> {
        let read = |value: &Cow<'_, str>| value.parse().map_err(|_| Refusal::Mistake(format!("`{name}` is no count: `{}`", short(value))));
        given.get(name).map(read).transpose()
    };
    let since = given.get("since").map(|value| {
        // A `+` that was not escaped is a space by now.
        let read = value.replace(' ', "+").parse::<Timestamp>();
        read.map_err(|_| Refusal::Mistake(format!("`since` is no time: `{}`; write it as 2026-11-22T10:00:00Z", short(value))))
    });
    let whole = match given.get("v").map(AsRef::as_ref) {
        None | Some("1") => false,
        Some("2") => true,
        Some(other) => return Err(Refusal::Mistake(format!("there is no `v={}`; 1 is AgentOpt's record, 2 the whole one", short(other)))),
    };
    let wanted = Wanted {
        runs: records.runs(text("run").as_deref()),
        data_id: text("data_id"),
        combo_id: text("combo_id"),
        agent_id: text("agent_id"),
        since: since.transpose()?,
    };
    Ok((wanted, Page { offset: number("offset")?.unwrap_or_default(), limit: number("limit")?, whole }))
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

/// Asks the journal on a thread where it holds nobody up. Calls that have ended are in it.
async fn ask<T: Send + 'static>(
    state: &Arc<State>,
    work: impl FnOnce(&Reader) -> Result<T, JournalError> + Send + 'static,
) -> Result<(T, OwnedSemaphorePermit), Refusal> {
    state.sidecar.flush().await;
    let permit = state.records.room.clone().acquire_owned().await.expect("it is never closed");
    let asked = state.clone();
    let answered = spawn_blocking(move || {
        let reader = asked.records.reader()?;
        let found = work(&reader)?;
        asked.records.give_back(reader);
        Ok::<_, JournalError>(found)
    });
    Ok((answered.await.expect("reading does not panic")?, permit))
}

/// `GET /records`: the records, in the order their calls ended.
pub(super) async fn records(Shared(state): Shared<Arc<State>>, uri: Uri) -> Result<Response, Refusal> {
    let (wanted, page) = question(&uri, &state.records)?;
    let (numbers, permit) = ask(&state, move |reader| reader.numbers(&wanted)).await?;
    let (sender, chunks) = mpsc::channel(2);
    let runtime = Handle::current();
    spawn_blocking(move || {
        let shown = numbers.into_iter().skip(page.offset).take(page.limit.unwrap_or(usize::MAX));
        if let Err(error) = write(&state.records, shown, page.whole, &runtime, &sender) {
            // Its client sees an answer that broke off.
            tracing::error!(error = agentrun_protocol::sentence(error.as_ref()), "an answer with records was broken off");
            runtime.block_on(sender.send(Err(error))).ok();
        }
        drop(permit);
    });
    let mut response = Response::new(Body::new(Chunks(chunks)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    Ok(response)
}

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Chunk = Result<Bytes, Failure>;

/// Writes records as an array, a chunk at a time, as fast as its reader takes them.
fn write(
    records: &Records,
    numbers: impl Iterator<Item = i64>,
    whole: bool,
    runtime: &Handle,
    sender: &mpsc::Sender<Chunk>,
) -> Result<(), Failure> {
    let reader = records.reader()?;
    let mut chunk = vec![b'['];
    let mut first = true;
    for number in numbers {
        let Some(record) = reader.numbered(number)? else { continue };
        if !std::mem::take(&mut first) {
            chunk.extend_from_slice(b", ");
        }
        if whole {
            chunk.extend(shape::whole(record, &records.life)?);
        } else {
            serde_json::to_writer(&mut chunk, &shape::Fourteen::from(&record))?;
        }
        if chunk.len() >= CHUNK && !send(std::mem::take(&mut chunk), runtime, sender) {
            return Ok(());
        }
    }
    chunk.push(b']');
    send(chunk, runtime, sender);
    records.give_back(reader);
    Ok(())
}

/// Whether somebody took it.
fn send(chunk: Vec<u8>, runtime: &Handle, sender: &mpsc::Sender<Chunk>) -> bool {
    runtime.block_on(async { tokio::time::timeout(STALLED, sender.send(Ok(chunk.into()))).await }).is_ok_and(|sent| sent.is_ok())
}

/// A body of what comes through a channel. A channel that ends without its last chunk was given up, and so is the connection.
struct Chunks(mpsc::Receiver<Chunk>);

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }
}

/// `GET /usage`: input and output tokens of each model; stored answers and failed calls count.
pub(super) async fn usage(Shared(state): Shared<Arc<State>>, uri: Uri) -> Result<Response, Refusal> {
    let (wanted, _) = question(&uri, &state.records)?;
    let (models, _permit) = ask(&state, move |reader| {
        let mut models: IndexMap<String, (u64, u64)> = IndexMap::new();
        reader.sums(&wanted, |sum| {
            let model = models.entry(sum.model).or_default();
            model.0 = model.0.saturating_add(sum.prompt_tokens);
            model.1 = model.1.saturating_add(sum.completion_tokens);
        })?;
        Ok(models)
    })
    .await?;
    Ok(answer(&models))
}

/// `GET /cached_latency`: how long the calls took at first that were answered from the cache.
pub(super) async fn cached_latency(Shared(state): Shared<Arc<State>>, uri: Uri) -> Result<Response, Refusal> {
    let (wanted, _) = question(&uri, &state.records)?;
    let (seconds, _permit) = ask(&state, move |reader| {
        let mut seconds = None;
        reader.sums(&wanted, |sum| {
            if sum.cached {
                *seconds.get_or_insert(0.0) += sum.latency_seconds;
            }
        })?;
        Ok(seconds)
    })
    .await?;
    // Python's sum of nothing is an integer.
    Ok(answer(&json!({"seconds": seconds.map_or(json!(0), Value::from)})))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Result<(Wanted, Page), String> {
        let records = Records::new(PathBuf::new());
        let uri: Uri = format!("/records?{query}").parse().unwrap();
        question(&uri, &records).map_err(|refusal| refusal.to_string()).map(|(mut wanted, page)| {
            for run in [&mut wanted.runs.0, &mut wanted.runs.1] {
                *run = run.replace(&records.life, "LIFE");
            }
            (wanted, page)
        })
    }

    #[test]
    fn a_question_is_what_its_parameters_say() {
        let (wanted, page) =
            asked("data_id=a%3D1+b&combo_id=&data_id=second&other=1&v=2&limit=5&offset=2&since=2026-11-22T10:00:00%2B00:00").unwrap();
        assert_eq!((wanted.data_id.as_deref(), wanted.combo_id.as_deref(), wanted.agent_id), (Some("a=1 b"), Some(""), None));
        assert_eq!(wanted.since, Some("2026-11-22T10:00:00Z".parse().unwrap()));
        assert_eq!(wanted.runs, ("LIFE".to_owned(), "LIFE/\u{10ffff}".to_owned()));
        assert_eq!(page, Page { offset: 2, limit: Some(5), whole: true });
        assert_eq!(asked("since=2026-11-22T10:00:00+00:00").unwrap().0.since, wanted.since, "as it is printed");
        assert_eq!(asked("run=mine").unwrap().0.runs, ("LIFE/mine".to_owned(), "LIFE/mine".to_owned()));
        assert_eq!(asked("data_id=json:5").unwrap().0.data_id.as_deref(), Some("json:\"json:5\""), "text, and no number");
    }

    #[test]
    fn mistakes_are_told_by_their_parameter() {
        for (query, text) in
            [("limit=-1", "`limit`"), ("limit=", "`limit`"), ("offset=a", "`offset`"), ("since=now", "`since`"), ("v=3", "`v=3`")]
        {
            assert!(asked(query).unwrap_err().contains(text), "{query}");
        }
    }
}
