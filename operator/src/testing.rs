//! Runs and specs for the tests of this crate, and an API server to ask.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use agentrun_crds::AgentRunSpec;
use http::Response as HttpResponse;
use kube::client::Body as KubeBody;
use serde_json::{Value, json};

use crate::run::Run;

/// A small spec with some of its fields replaced: 2 combos, a ConfigMap, 1 sample.
pub(crate) fn spec(changes: Value) -> AgentRunSpec {
    let mut spec = json!({
        "roles": [{"name": "solver", "models": ["gpt-4.1", "gpt-4.1-mini"]}],
        "dataset": {"configMap": {"name": "questions", "key": "questions.jsonl"}},
        "template": {"spec": {"containers": [{"name": "agent", "image": "example.test/agent:1"}]}},
        "scoring": {"exact": {}},
        "limits": {"parallelism": 8, "retries": 2},
    });
    for (key, value) in changes.as_object().expect("changes are an object") {
        spec[key] = value.clone();
    }
    serde_json::from_value(spec).expect("the spec is readable")
}

/// A run of that spec, registered with so many datapoints.
pub(crate) fn run(changes: Value, datapoints: u64) -> Run {
    let spec = spec(changes);
    Run {
        namespace: "evals".into(),
        name: "math".into(),
        uid: "11111111-2222-3333-4444-555555555555".into(),
        generation: 1,
        deleted_at: None,
        has_finalizer: true,
        queue: None,
        raw_spec: serde_json::to_value(&spec).expect("a spec is JSON"),
        spec: Ok(spec),
        status: json!({"dataset": {"datapoints": datapoints, "digest": "d"}}),
    }
}

/// An API server that answers each path as the table says, and knows nothing else.
#[derive(Clone)]
struct Api(Arc<Vec<(&'static str, u16, Value)>>);

impl tower_service::Service<http::Request<KubeBody>> for Api {
    type Response = HttpResponse<KubeBody>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<KubeBody>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let found = self.0.iter().find(|(known, ..)| *known == path).map(|(_, code, body)| (*code, body.clone()));
        let missing =
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404, "message": "no"});
        let (code, body) = found.unwrap_or((404, missing));
        let response = HttpResponse::builder().status(code).header("warning", "299 - \"a remark\"");
        Box::pin(async move { Ok(response.body(KubeBody::from(body.to_string().into_bytes())).expect("the response is sound")) })
    }
}

/// A client of such an API server.
pub(crate) fn answering(table: Vec<(&'static str, u16, Value)>) -> kube::Client {
    kube::Client::new(Api(Arc::new(table)), "default")
}
