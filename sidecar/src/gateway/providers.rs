//! Further LLM hosts, named while the gateway runs.

use std::sync::Arc;

use agentrun_llm::provider::{NoShape, Shape};
use axum::{body::Body, extract::State as Shared};
use http::StatusCode;

use super::{State, body, refusal::Refusal};

/// As many hosts as are known at most.
const HOSTS: usize = 2000;
/// As many paths as a provider may have.
const PATHS: usize = 100;
/// The longest name, URL or path, in bytes.
const LONGEST: usize = 2 << 10;

/// `POST /providers`: adds a host, or replaces who answers there.
pub(super) async fn add(Shared(state): Shared<Arc<State>>, body: Body) -> Result<StatusCode, Refusal> {
    let members = body::members(body, false).await?;
    let name: String = members.needed("name", "a string")?;
    let base_url: String = members.needed("base_url", "a URL with its scheme")?;
    let paths: Vec<String> = members.needed("path_patterns", "a list of strings")?;
    let shape = members.optional::<String>("shape", "a string")?;
    let shape: Shape = shape.as_deref().unwrap_or("openai").parse().map_err(|error: NoShape| Refusal::Mistake(error.to_string()))?;
    // An empty one would be part of every path.
    let paths: Vec<String> = paths.into_iter().filter(|path| !path.trim().is_empty()).collect();
    let longest = paths.iter().chain([&name, &base_url]).map(String::len).max().unwrap_or_default();
    if paths.len() > PATHS || longest > LONGEST {
        return Err(Refusal::Mistake(format!("a provider has at most {PATHS} paths, and no text of it is longer than {LONGEST} bytes")));
    }
    if state.sidecar.count_hosts() >= HOSTS {
        return Err(Refusal::Mistake(format!("{HOSTS} hosts are known; no more are taken until the gateway is started anew")));
    }
    state.sidecar.add_provider(&name, &base_url, shape, paths).map_err(|error| Refusal::Mistake(error.to_string()))?;
    tracing::info!(name, "reads the calls of one more host");
    Ok(StatusCode::NO_CONTENT)
}
