//! The simulation as the proxy's upstream.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use agentrun_eval::dataset::{Datapoint, Dataset};
use agentrun_llm::{
    compose::compose,
    json::Json,
    provider::{Endpoint, Framing, Hosts, Provider, Shape},
    request,
    response::{convert, error_body},
    usage::Usage,
};
use agentrun_sidecar::{Answering, Attribution, Origin, RequestBody};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use jiff::Timestamp;
use tokio::time::sleep;

use super::{
    Simulation, answer,
    draw::Draw,
    file::Model,
    paced::{Paced, events},
};

/// Characters of a request for one input token: what English text comes to with most tokenizers.
const CHARACTERS_PER_TOKEN: usize = 4;
/// The part of an answer's time before the first piece of a stream.
const FIRST_PIECE: f64 = 0.25;

/// Answers calls.
pub(crate) struct Simulator {
    simulation: Simulation,
    dataset: Arc<Dataset>,
    hosts: Hosts,
}

/// An answer and when it comes.
struct Reply {
    status: StatusCode,
    content_type: &'static str,
    pieces: VecDeque<Bytes>,
    before: Duration,
    during: Duration,
}

impl Simulator {
    /// Answers for `hosts`, knowing the dataset's expected values.
    pub(crate) fn new(simulation: Simulation, dataset: Arc<Dataset>, hosts: Hosts) -> Self {
        Self { simulation, dataset, hosts }
    }

    fn reply(&self, request: &Request<RequestBody>) -> Reply {
        let host = request.uri().host().unwrap_or_default();
        let Some(provider) = self.hosts.find(host) else {
            return refusal(Shape::OpenAi, StatusCode::NOT_FOUND, &format!("the simulation answers LLM hosts, and {host} is none"));
        };
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let endpoint = Endpoint::of(provider, request.method().as_str(), path);
        let body = match Json::parse(request.body().bytes()) {
            Ok(body) => body,
            Err(error) => return refusal(provider.shape, StatusCode::BAD_REQUEST, &format!("the request is not JSON: {error}")),
        };
        let ask = request::read(&endpoint, path, &body);
        let Some((name, model)) = ask.model.as_deref().and_then(|name| Some((name, self.simulation.model(name)?))) else {
            let name = ask.model.as_deref().unwrap_or("without a name");
            let message = format!("the simulation knows no model {name}: add it to the simulation file, or `\"*\"` for all");
            return refusal(provider.shape, StatusCode::NOT_FOUND, &message);
        };
        let attribution = request.extensions().get::<Attribution>();
        let sample = attribution.map_or(0, |attribution| attribution.sample);
        let datapoint = attribution
            .and_then(|attribution| attribution.data_id.as_deref())
            .and_then(|data_id| self.dataset.index_of(data_id))
            .and_then(|index| self.dataset.get(index));
        let text = body.canonical(endpoint.key_ignored_members());
        let key_path = Endpoint::key_path(path);
        let seed = self.simulation.seed.to_le_bytes();
        let draw = Draw::of(&[&seed, name.as_bytes(), key_path.as_bytes(), text.as_bytes(), &sample.to_le_bytes()]);
        self.answer(provider, &endpoint, name, model, datapoint, &text, ask.framing, ask.wants_usage_chunk, draw)
    }

    #[expect(clippy::too_many_arguments, reason = "all that an answer follows from")]
    fn answer(
        &self,
        provider: &Provider,
        endpoint: &Endpoint,
        name: &str,
        model: &Model,
        datapoint: Option<&Datapoint>,
        request: &str,
        framing: Framing,
        with_usage_chunk: bool,
        mut draw: Draw,
    ) -> Reply {
        let is_right = draw.fraction() < model.accuracy;
        let answer = if is_right { answer::right(datapoint) } else { answer::wrong(datapoint, &self.dataset, &mut draw) };
        let text = self.simulation.answer.replace("{answer}", &answer);
        let usage = Usage {
            input_tokens: Some((request.chars().count() / CHARACTERS_PER_TOKEN).max(1) as u64),
            output_tokens: Some((f64::from(model.output_tokens) * draw.jitter()).round().max(1.0) as u64),
            ..Usage::default()
        };
        let seconds = model.latency_seconds * draw.jitter();
        let created = Timestamp::now().as_second();
        let unknown = || refusal(provider.shape, StatusCode::NOT_FOUND, "the simulation cannot answer this kind of call");
        let Some(message) = compose(endpoint, name, &text, &usage, draw.number(), created) else {
            return unknown();
        };
        let message = message.to_string().into_bytes();
        let (body, first) = if framing.is_stream() {
            let Some(stream) = convert(endpoint, Framing::Json, framing, &message, with_usage_chunk) else {
                return unknown();
            };
            (stream, FIRST_PIECE)
        } else {
            (message, 1.0)
        };
        Reply {
            status: StatusCode::OK,
            content_type: framing.content_type(),
            pieces: events(body),
            before: Duration::from_secs_f64(seconds * first),
            during: Duration::from_secs_f64(seconds * (1.0 - first)),
        }
    }
}

impl Origin for Simulator {
    fn send(&self, request: Request<RequestBody>) -> Answering {
        let reply = self.reply(&request);
        Box::pin(async move {
            sleep(reply.before).await;
            let body = Paced::new(reply.pieces, reply.during).map_err(|never| match never {}).boxed_unsync();
            let response = Response::builder().status(reply.status).header(header::CONTENT_TYPE, reply.content_type);
            Ok(response.body(body).expect("a status and a content type from tables"))
        })
    }
}

fn refusal(shape: Shape, status: StatusCode, message: &str) -> Reply {
    let body = error_body(shape, status.as_u16(), "simulation", &format!("simulated: {message}"));
    Reply {
        status,
        content_type: Framing::Json.content_type(),
        pieces: VecDeque::from([Bytes::from(body)]),
        before: Duration::ZERO,
        during: Duration::ZERO,
    }
}
