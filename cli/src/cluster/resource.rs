//! AgentRuns as the API server has them.

use agentrun_crds::{AgentRun, manifest};
use http::{Request, StatusCode, header::HeaderMap};
use http_body_util::BodyExt;
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
    client::Body,
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use super::{Cluster, MANAGER, problem::Problem};

/// Members of an object's metadata that a manifest has, too.
const METADATA: [&str; 13] = [
    "name",
    "namespace",
    "labels",
    "annotations",
    "generation",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "finalizers",
    "ownerReferences",
    "managedFields",
];

/// What the API server said of an object that was applied.
pub(crate) struct Applied {
    /// The object as it is now.
    pub(crate) object: Value,
    /// Whether it was not there before.
    pub(crate) created: bool,
    /// What people should know.
    pub(crate) warnings: Vec<String>,
}

/// The kind.
pub(crate) fn kind() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("agentrun.dev", "v1alpha1", "AgentRun"), "agentruns")
}

/// A resource that the cluster wrote, as the types know it.
///
/// # Errors
/// It is of another version.
pub(crate) fn typed(mut object: Value) -> Result<AgentRun, Problem> {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| METADATA.contains(&key.as_str()));
        metadata.remove("managedFields");
    }
    manifest::from_value(&object).map_err(|mistakes| Problem::Version(mistakes.to_string()))
}

/// The object without what only the API server needs.
pub(crate) fn shown(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
    }
    object
}

impl Cluster {
    pub(crate) fn runs(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind())
    }

    /// All runs of the namespace, by name.
    pub(crate) async fn list(&self) -> Result<Vec<Value>, Problem> {
        let mut items = Vec::new();
        let mut page = ListParams::default().limit(500);
        loop {
            let list = self.runs().list(&page).await?;
            let next = list.metadata.continue_.filter(|next| !next.is_empty());
            for item in list.items {
                items.push(self.value(item)?);
            }
            match next {
                Some(next) => page = page.continue_token(&next),
                None => return Ok(items),
            }
        }
    }

    /// A run.
    pub(crate) async fn run(&self, name: &str) -> Result<Value, Problem> {
        match self.runs().get_opt(name).await? {
            Some(object) => self.value(object),
            None => Err(self.no_run(name).await),
        }
    }

    /// That there is no such run, and which there are.
    pub(crate) async fn no_run(&self, name: &str) -> Problem {
        let names: Vec<String> = match self.list().await {
            Ok(runs) => runs.iter().filter_map(|run| Some(run["metadata"]["name"].as_str()?.to_owned())).take(20).collect(),
            // Who may not list, or a cluster that has no such resource at all.
            Err(Problem::NoResource) => return Problem::NoResource,
            Err(_) => Vec::new(),
        };
        let known = if names.is_empty() { String::new() } else { format!("; there is {}", names.join(", ")) };
        Problem::NoRun { name: name.to_owned(), namespace: self.namespace.clone(), known }
    }

    pub(crate) fn value(&self, object: DynamicObject) -> Result<Value, Problem> {
        let mut value = serde_json::to_value(object).map_err(|error| Problem::Version(error.to_string()))?;
        // Items of a list come without their kind.
        if let Some(object) = value.as_object_mut() {
            object.insert("apiVersion".into(), agentrun_crds::agent_run::API_VERSION.into());
            object.insert("kind".into(), agentrun_crds::agent_run::KIND.into());
        }
        Ok(value)
    }

    /// Deletes a run, and with it all that it made. Returns false where it was not there.
    pub(crate) async fn delete(&self, name: &str) -> Result<bool, Problem> {
        match self.runs().delete(name, &DeleteParams::background()).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 && status.details.as_ref().is_some_and(|details| details.name == name) => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Applies an object of ours, server-side. `path` is that of its kind in the namespace.
    pub(crate) async fn apply(&self, path: &str, object: &Value, dry_run: bool) -> Result<Applied, Problem> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let parameters = PatchParams { dry_run, ..PatchParams::apply(MANAGER).force() };
        let request = kube::core::Request::new(path).patch(name, &parameters, &Patch::Apply(object));
        let request = request.map_err(|error| Problem::Refused(error.to_string()))?;
        let (status, headers, body) = self.send(request).await?;
        Ok(Applied { object: read(&body)?, created: status == StatusCode::CREATED, warnings: warnings(&headers) })
    }

    /// Sends a request, and reads the answer to its end. An answer that is an error becomes a problem.
    pub(crate) async fn send(&self, request: Request<Vec<u8>>) -> Result<(StatusCode, HeaderMap, Vec<u8>), Problem> {
        let answer = self.client.send(request.map(Body::from)).await?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map_err(|error| Problem::Unreachable(error.to_string()))?.to_bytes();
        if parts.status.is_success() {
            return Ok((parts.status, parts.headers, body.into()));
        }
        let said: Value = serde_json::from_slice(&body).unwrap_or_else(|_| json!({"message": String::from_utf8_lossy(&body).trim()}));
        let text = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
        Err(match said["error"].as_str() {
            // The hub's own words, through the proxy.
            Some(sentence) if said["kind"].is_null() => Problem::Hub { status: parts.status, sentence: sentence.to_owned() },
            _ => Problem::of_status(parts.status.as_u16(), &text("reason"), &text("message")),
        })
    }
}

fn read(body: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::Refused(format!("its answer cannot be read: {error}")))
}

/// The texts of RFC 7234's warnings, as in `299 - "text"`.
fn warnings(headers: &HeaderMap) -> Vec<String> {
    let texts = headers.get_all("warning").into_iter().filter_map(|warning| warning.to_str().ok());
    let text = |warning: &str| {
        let quoted = warning.split_once('"').map_or(warning, |(_, rest)| rest.strip_suffix('"').unwrap_or(rest));
        quoted.replace("\\\"", "\"").replace("\\\\", "\\")
    };
    texts.map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_read_as_they_were_meant() {
        let headers = HeaderMap::from_iter([
            (http::header::WARNING, r#"299 - "unknown field \"spec.role\"""#.parse().unwrap()),
            (http::header::WARNING, "299 - \"model gpt-9 has no price\"".parse().unwrap()),
        ]);
        assert_eq!(warnings(&headers), ["unknown field \"spec.role\"", "model gpt-9 has no price"]);
    }

    #[test]
    fn what_only_the_cluster_writes_does_not_hinder() {
        let spec = json!({
            "roles": [{"name": "solver", "models": ["m"]}],
            "dataset": {"items": [{"input": "1+1?", "expected": 2}]},
            "template": {"spec": {"containers": [{"name": "agent", "image": "agent"}]}},
            "scoring": {"numeric": {}},
        });
        let metadata = json!({"name": "run", "uid": "u", "generateName": "r", "managedFields": [{"manager": "x"}], "selfLink": "/x"});
        let object = json!({"apiVersion": "agentrun.dev/v1alpha1", "kind": "AgentRun", "metadata": metadata, "spec": spec});
        assert_eq!(typed(object.clone()).unwrap().metadata.uid.as_deref(), Some("u"));
        assert!(shown(object.clone())["metadata"].get("managedFields").is_none());
        let mut newer = object;
        newer["spec"]["novelty"] = true.into();
        assert!(typed(newer).unwrap_err().to_string().contains("another version"));
    }
}
