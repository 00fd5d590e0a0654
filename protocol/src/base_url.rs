//! The `BaseUrl` capture layer: variables that make SDKs call `http://ADDRESS/HOST/…`, where a proxy of ours answers for `https://HOST/…`.
//!
//! It reaches clients that trust only the roots compiled into them. Nobody has to resolve a name or trust a certificate for it.

use core::net::SocketAddr;

/// A variable, the host it stands for, and the path that its clients want in it before they append their own.
///
/// Each was read in the SDK's source: openai (Python, JavaScript, Go) appends `/chat/completions`; langchain and the older openai library
/// read `OPENAI_API_BASE`; anthropic appends `/v1/messages`; google-genai `/v1/models/…` or `/v1beta/models/…`; cohere `/v2/chat`; groq
/// `/openai/v1/chat/completions`; cerebras `/v1/chat/completions`; perplexity `/chat/completions`.
const VARIABLES: [(&str, &str, &str); 8] = [
    ("OPENAI_BASE_URL", "api.openai.com", "/v1"),
    ("OPENAI_API_BASE", "api.openai.com", "/v1"),
    ("ANTHROPIC_BASE_URL", "api.anthropic.com", ""),
    ("GOOGLE_GEMINI_BASE_URL", "generativelanguage.googleapis.com", ""),
    ("CO_API_URL", "api.cohere.com", ""),
    ("GROQ_BASE_URL", "api.groq.com", ""),
    ("CEREBRAS_BASE_URL", "api.cerebras.ai", ""),
    ("PERPLEXITY_BASE_URL", "api.perplexity.ai", ""),
];
/// As [`VARIABLES`], for the one Vertex AI host of a region.
const VERTEX: [(&str, &str); 2] = [("GOOGLE_VERTEX_BASE_URL", ""), ("ANTHROPIC_VERTEX_BASE_URL", "/v1")];
/// As [`VARIABLES`], for the one Bedrock host of a region.
const BEDROCK: [&str; 1] = ["ANTHROPIC_BEDROCK_BASE_URL"];

/// The variables to set so that the SDKs of `hosts` call the proxy at `address`, in a fixed order. A host that no SDK has a variable for gives
/// none; it needs another capture layer.
///
/// Vertex AI's hosts are regional and its variables name one: they are set where exactly one such host is given. Bedrock's need
/// [`bedrock_base_url_variables`].
pub fn base_url_variables<'a>(hosts: impl IntoIterator<Item = &'a str>, address: SocketAddr) -> Vec<(&'static str, String)> {
    let hosts: Vec<&str> = hosts.into_iter().collect();
    let known = VARIABLES.iter().filter(|(_, host, _)| hosts.contains(host));
    let mut variables: Vec<_> = known.map(|&(name, host, path)| (name, base_url(address, host, path))).collect();
    let mut vertex = hosts.iter().filter(|host| is_vertex(host));
    if let (Some(host), None) = (vertex.next(), vertex.next()) {
        variables.extend(VERTEX.map(|(name, path)| (name, base_url(address, host, path))));
    }
    variables
}

/// The variables for Bedrock's runtime at `host` (`bedrock-runtime.REGION.amazonaws.com`), for clients that authenticate with
/// `AWS_BEARER_TOKEN_BEDROCK` and no others.
///
/// An AWS signature covers host and path of the URL that the client calls: AWS would refuse every signed call whose URL was replaced. So
/// `AWS_ENDPOINT_URL_BEDROCK_RUNTIME` is never among them; nor does it help AWS's SDKs with a bearer token, which they send over https alone.
/// They take a proxy or DNS.
pub fn bedrock_base_url_variables(host: &str, address: SocketAddr) -> Vec<(&'static str, String)> {
    BEDROCK.map(|name| (name, base_url(address, host, ""))).into()
}

/// A base URL that an author set, led through the proxy at `address`: its host and path are kept. `None` where it is not `https` or has no host:
/// what runs on the agent's own machine is left alone. The proxy answers only for hosts it reads: for others, leave the author's URL as it is.
pub fn through_proxy(url: &str, address: SocketAddr) -> Option<String> {
    let rest = url.strip_prefix("https://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let is_host = !authority.is_empty() && !authority.contains('@') && !authority.chars().any(char::is_whitespace);
    is_host.then(|| format!("http://{address}/{rest}"))
}

fn base_url(address: SocketAddr, host: &str, path: &str) -> String {
    format!("http://{address}/{host}{path}")
}

fn is_vertex(host: &str) -> bool {
    host == "aiplatform.googleapis.com"
        || host.ends_with("-aiplatform.googleapis.com")
        || (host.starts_with("aiplatform.") && host.ends_with(".rep.googleapis.com"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 15080);

    fn names(hosts: &[&str]) -> Vec<&'static str> {
        base_url_variables(hosts.iter().copied(), ADDRESS).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn each_host_has_the_variables_of_its_sdks() {
        let variables = base_url_variables(["api.anthropic.com", "api.openai.com", "llm.example"], ADDRESS);
        let expected = [
            ("OPENAI_BASE_URL", "http://127.0.0.1:15080/api.openai.com/v1"),
            ("OPENAI_API_BASE", "http://127.0.0.1:15080/api.openai.com/v1"),
            ("ANTHROPIC_BASE_URL", "http://127.0.0.1:15080/api.anthropic.com"),
        ];
        assert_eq!(variables, expected.map(|(name, url)| (name, url.to_owned())));
        assert_eq!(names(&[]), Vec::<&str>::new());
    }

    #[test]
    fn regional_hosts_have_variables_only_where_there_is_no_choice() {
        let vertex = ["GOOGLE_VERTEX_BASE_URL", "ANTHROPIC_VERTEX_BASE_URL"];
        assert_eq!(names(&["us-central1-aiplatform.googleapis.com"]), vertex);
        assert_eq!(names(&["aiplatform.googleapis.com"]), vertex);
        assert_eq!(names(&["aiplatform.eu.rep.googleapis.com"]), vertex);
        assert_eq!(names(&["aiplatform.googleapis.com", "us-central1-aiplatform.googleapis.com"]), Vec::<&str>::new());
        assert_eq!(names(&["bedrock-runtime.eu-west-1.amazonaws.com"]), Vec::<&str>::new());
        let bedrock = bedrock_base_url_variables("bedrock-runtime.eu-west-1.amazonaws.com", ADDRESS);
        assert!(bedrock.iter().all(|(_, url)| url == "http://127.0.0.1:15080/bedrock-runtime.eu-west-1.amazonaws.com"), "{bedrock:?}");
    }

    #[test]
    fn an_authors_base_url_keeps_its_host_and_path() {
        let table = [
            ("https://gateway.example/team/a", Some("http://127.0.0.1:15080/gateway.example/team/a")),
            ("https://gateway.example:8443?x=1", Some("http://127.0.0.1:15080/gateway.example:8443?x=1")),
            ("http://localhost:1234", None),
            ("gateway.example", None),
            ("https://", None),
            ("https:///v1", None),
            ("https://user:secret@gateway.example", None),
            ("https://a b/", None),
            ("", None),
        ];
        for (url, expected) in table {
            assert_eq!(through_proxy(url, ADDRESS).as_deref(), expected, "{url:?}");
        }
    }
}
