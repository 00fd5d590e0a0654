//! What the operator and readers ask of runs.

use std::sync::Arc;

use agentrun_protocol::{
    query::Filter,
    run::{Observation, Registration},
};
use axum::{
    body::Body,
    extract::{Path, State as Shared},
    routing::{MethodRouter, get},
};
use http::HeaderMap;
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    Answer, State,
    caller::{FromOperator, FromReader},
    params::{self, Params},
    pod::done,
    refusal::{Refusal, json},
};
use crate::archive::RunId;

/// The most bytes of a registration: a million datapoints of some hundred bytes.
const REGISTRATION_BYTES: usize = 256 << 20;
/// The most bytes of an observation.
const OBSERVATION_BYTES: usize = 32 << 20;

/// Which run of this name, where there were several.
#[derive(Deserialize)]
pub(super) struct Which {
    uid: Option<String>,
}

/// Which page of which namespace's runs.
#[derive(Deserialize)]
pub(super) struct Listing {
    namespace: Option<String>,
    limit: Option<u64>,
    cursor: Option<String>,
}

type Named = Path<(String, String)>;

pub(super) async fn register(
    Shared(state): Shared<Arc<State>>,
    _: FromOperator,
    Path((namespace, name)): Named,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let registration: Registration = params::message(&state.room.read(&headers, body, REGISTRATION_BYTES).await?)?;
    state.archive.register(&namespace, &name, registration).await?;
    Ok(done())
}

pub(super) async fn delete(
    Shared(state): Shared<Arc<State>>,
    _: FromOperator,
    Path((namespace, name)): Named,
    Params(which): Params<Which>,
) -> Answer {
    let uid = which.uid.ok_or_else(|| Refusal::bad("`uid` is missing: say which run of this name is to be deleted"))?;
    state.archive.delete(&namespace, &name, &uid).await?;
    Ok(done())
}

pub(super) async fn observe(
    Shared(state): Shared<Arc<State>>,
    _: FromOperator,
    Path((namespace, name)): Named,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let observation: Observation = params::message(&state.room.read(&headers, body, OBSERVATION_BYTES).await?)?;
    Ok(json(&state.archive.observe(&namespace, &name, observation, Timestamp::now()).await?))
}

pub(super) async fn list(Shared(state): Shared<Arc<State>>, reader: FromReader, Params(listing): Params<Listing>) -> Answer {
    let namespace = listing.namespace.or_else(|| reader.namespace.clone());
    let namespace = namespace.ok_or_else(|| Refusal::bad("`namespace` is missing: say whose runs are asked for"))?;
    reader.may_read(&namespace)?;
    Ok(json(&state.archive.runs(&namespace, listing.limit, listing.cursor.as_deref()).await?))
}

pub(super) async fn run(
    Shared(state): Shared<Arc<State>>,
    reader: FromReader,
    Path((namespace, name)): Named,
    Params(which): Params<Which>,
) -> Answer {
    let run = state.read_by(&reader, &namespace, &name, &which).await?;
    Ok(json(&state.archive.run(run).await?))
}

/// What of a run is listed.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Calls,
    Trials,
    Results,
}

/// Pages of a part of a run.
pub(super) fn pages(part: Part) -> MethodRouter<Arc<State>> {
    get(move |state, reader, run, which, filter| page(part, state, reader, run, which, filter))
}

async fn page(
    part: Part,
    Shared(state): Shared<Arc<State>>,
    reader: FromReader,
    Path((namespace, name)): Named,
    Params(which): Params<Which>,
    Params(filter): Params<Filter>,
) -> Answer {
    let run = state.read_by(&reader, &namespace, &name, &which).await?;
    Ok(match part {
        Part::Calls => json(&state.archive.calls(run, &filter).await?),
        Part::Trials => json(&state.archive.trials(run, &filter).await?),
        Part::Results => json(&state.archive.results(run, &filter).await?),
    })
}

impl State {
    async fn read_by(&self, reader: &FromReader, namespace: &str, name: &str, which: &Which) -> Result<RunId, Refusal> {
        reader.may_read(namespace)?;
        Ok(self.archive.find(namespace, name, which.uid.as_deref()).await?)
    }
}
