//! The hub, through the API server's service proxy, with a token of the namespace's own service account.

use agentrun_crds::status::RankedCombo;
use agentrun_protocol::{
    names::AUDIENCE,
    paths,
    query::{Filter, Page, Problem as Sentence, Trial},
};
use http::{HeaderValue, Request, StatusCode};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, api::PostParams};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Cluster, problem::Problem};

/// The hub's service, and its port.
pub(crate) const SERVICE: &str = "agentrun-hub";
const PORT: u16 = 8443;
/// The service account whose token says which namespace may be read.
const ACCOUNT: &str = "default";
/// Seconds that the token is good for; no answer takes as long.
const TOKEN_SECONDS: i64 = 600;

/// The hub, as a reader of one namespace.
pub(crate) struct Hub<'a> {
    cluster: &'a Cluster,
    authorization: HeaderValue,
}

impl Cluster {
    /// Asks for a token, with which the hub lets the namespace's runs be read.
    ///
    /// # Errors
    /// The namespace is not there, or `create serviceaccounts/token` is forbidden in it.
    pub(crate) async fn hub(&self) -> Result<Hub<'_>, Problem> {
        let accounts = Api::<ServiceAccount>::namespaced(self.client.clone(), &self.namespace);
        let spec =
            TokenRequestSpec { audiences: vec![AUDIENCE.to_owned()], expiration_seconds: Some(TOKEN_SECONDS), bound_object_ref: None };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let asked = accounts.create_token_request(ACCOUNT, &PostParams::default(), &request).await;
        let token = asked.map_err(|error| match Problem::from(error) {
            Problem::Refused(sentence) if sentence.contains("not found") => Problem::NoNamespace(self.namespace.clone()),
            other => other,
        })?;
        let token = token.status.map(|status| status.token).unwrap_or_default();
        let mut authorization =
            HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| Problem::Refused("its token is no header".to_owned()))?;
        authorization.set_sensitive(true);
        Ok(Hub { cluster: self, authorization })
    }
}

impl Hub<'_> {
    /// One page of a run's calls as JSON objects.
    pub(crate) async fn calls(&self, run: &str, filter: &Filter) -> Result<Page<Value>, Problem> {
        self.list(run, "calls", filter).await
    }

    /// All trials of a run that fit.
    pub(crate) async fn trials(&self, run: &str, filter: Filter) -> Result<Vec<Trial>, Problem> {
        self.all(run, "trials", filter).await
    }

    /// A run's whole ranking.
    pub(crate) async fn results(&self, run: &str) -> Result<Vec<RankedCombo>, Problem> {
        self.all(run, "results", Filter::default()).await
    }

    async fn all<T: DeserializeOwned>(&self, run: &str, what: &str, mut filter: Filter) -> Result<Vec<T>, Problem> {
        let mut items = Vec::new();
        loop {
            let page: Page<T> = self.list(run, what, &filter).await?;
            items.extend(page.items);
            match page.next {
                Some(next) => filter.cursor = Some(next),
                None => return Ok(items),
            }
        }
    }

    async fn list<T: DeserializeOwned>(&self, run: &str, what: &str, filter: &Filter) -> Result<Page<T>, Problem> {
        let path = format!("{}/{what}?{}", paths::run(&self.cluster.namespace, run), query(filter));
        self.get(&path, run).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, run: &str) -> Result<T, Problem> {
        let system = &self.cluster.system_namespace;
        let uri = format!("/api/v1/namespaces/{system}/services/https:{SERVICE}:{PORT}/proxy{path}");
        let request = Request::get(uri).header(paths::AUTHORIZATION_HEADER, self.authorization.clone()).body(Vec::new());
        let request = request.map_err(|error| Problem::HubAnswer(error.to_string()))?;
        let body = match self.cluster.send(request).await {
            Ok((_, _, body)) => body,
            Err(Problem::Hub { status: StatusCode::NOT_FOUND, .. }) => return Err(self.cluster.no_run(run).await),
            Err(Problem::Refused(sentence)) if sentence.contains("not found") => return Err(Problem::NoHub { namespace: system.clone() }),
            Err(Problem::Refused(sentence)) => return Err(Problem::HubAway(sentence, system.clone())),
            Err(other) => return Err(other),
        };
        serde_json::from_slice(&body).map_err(|error| {
            let said = serde_json::from_slice::<Sentence>(&body).map(|sentence| sentence.error);
            Problem::HubAnswer(said.unwrap_or_else(|_| error.to_string()))
        })
    }
}

/// The filter as a query.
fn query(filter: &Filter) -> String {
    let members = serde_json::to_value(filter).unwrap_or_default();
    let pairs = members.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let pair = |(name, value): (&String, &Value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{name}={}", encoded(&text))
    };
    pairs.map(pair).collect::<Vec<_>>().join("&")
}

/// Percent-encoded, all but what RFC 3986 calls unreserved.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_query_that_no_value_can_break_out_of() {
        let filter = Filter { combo_id: Some("a=b + c&limit=0".into()), cached: Some(true), limit: Some(7), ..Filter::default() };
        assert_eq!(query(&filter), "combo_id=a%3Db%20%2B%20c%26limit%3D0&cached=true&limit=7");
        assert_eq!(query(&Filter::default()), "");
    }
}
