//! What goes wrong with a cluster, told with what to do about it.

use agentrun_protocol::sentence;
use http::StatusCode;

use super::hub;

/// What goes wrong with a cluster.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error(
        "finding the cluster: {0}; set KUBECONFIG or use --kubeconfig and --context, or leave out -n and --cluster to look at this machine's runs"
    )]
    Kubeconfig(String),
    #[error("asking the API server: {0}; is the cluster up, and is the kubeconfig's address right?")]
    Unreachable(String),
    #[error("the API server does not know you: {0}; log in again, or use another --context")]
    Unauthenticated(String),
    #[error("{0}; somebody who may grant roles must allow it")]
    Forbidden(String),
    #[error("the cluster knows no AgentRun: install the chart first (helm install agentrun …), or use another --context")]
    NoResource,
    #[error("there is no run `{name}` in namespace {namespace}{known}")]
    NoRun { name: String, namespace: String, known: String },
    #[error("there is no namespace {0}: make it (kubectl create namespace {0}), or name another with -n")]
    NoNamespace(String),
    #[error("namespace {namespace} has no service {service}: where is AgentRun installed? Name its namespace with --system-namespace", service = hub::SERVICE)]
    NoHub { namespace: String },
    #[error("the hub does not answer: {0}; look at it with kubectl -n {1} get pods,events")]
    HubAway(String, String),
    #[error("the hub answers {status}: {sentence}")]
    Hub { status: StatusCode, sentence: String },
    #[error("reading the hub's answer: {0}")]
    HubAnswer(String),
    #[error("the API server refuses it: {0}")]
    Refused(String),
    #[error("the resource was written by another version of AgentRun, and cannot be read: {0}; use that version's agentrun, or -o yaml")]
    Version(String),
    #[error("{0}")]
    Dataset(String),
}

impl From<kube::Error> for Problem {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(status.code, &status.reason, &status.message),
            other => Self::Unreachable(sentence(&other)),
        }
    }
}

impl Problem {
    /// What the API server's Status says.
    pub(crate) fn of_status(code: u16, reason: &str, message: &str) -> Self {
        match (code, reason) {
            (401, _) => Self::Unauthenticated(message.to_owned()),
            (403, _) => Self::Forbidden(message.to_owned()),
            // A resource that is not there at all has no name in its message.
            (404, _) if message.contains("could not find the requested resource") || message.contains("page not found") => Self::NoResource,
            (404, _) if message.starts_with("namespaces \"") => Self::NoNamespace(message.split('"').nth(1).unwrap_or_default().to_owned()),
            _ if message.is_empty() => Self::Refused(format!("{code} {reason}")),
            _ => Self::Refused(message.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_servers_words_become_advice() {
        let told = |code, message| Problem::of_status(code, "", message).to_string();
        let forbidden = r#"agentruns.agentrun.dev is forbidden: User "jane" cannot list resource "agentruns" in API group "agentrun.dev" in the namespace "team""#;
        assert!(told(403, forbidden).starts_with(forbidden));
        assert!(told(404, "the server could not find the requested resource").contains("helm install"));
        assert!(told(404, r#"namespaces "team" not found"#).contains("kubectl create namespace team"));
        assert!(told(401, "Unauthorized").contains("--context"));
        assert_eq!(told(422, "spec.roles: too few"), "the API server refuses it: spec.roles: too few");
    }
}
