//! AgentRuns: what the definition's own rules cannot say. Pure; what is asked of the cluster comes in as [`Found`].

use std::collections::BTreeSet;

use agentrun_crds::AgentRunSpec;
use agentrun_crds::agent_run::{API_VERSION, KIND};
use agentrun_crds::manifest;
use agentrun_crds::network::CacheScope;
use agentrun_llm::price::PriceTable;
use agentrun_llm::provider::Hosts;
use serde_json::{Value, json};

use super::attempt::Attempt;
use super::review::Answer;
use crate::dataset::{self, Source};
use crate::inject::Installation;
use crate::inject::trial::{self, Template, Trial};
use crate::inject::{shortened, told};

/// What a run's author is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Findings {
    pub(crate) errors: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

/// What was asked of the cluster; `None` was not asked, or not answered in time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// The dataset's ConfigMap.
    pub(crate) dataset: Option<Source>,
    /// Whether the ConfigMap and key of `spec.trust` are there.
    pub(crate) trust: Option<bool>,
    /// What the API server says of a trial's pod.
    pub(crate) attempt: Option<Attempt>,
}

/// Reads the resource with the same sentences that `agentrun validate` has.
///
/// # Errors
/// All mistakes at once.
pub(crate) fn read(object: &Value) -> Result<AgentRunSpec, Vec<String>> {
    let metadata = &object["metadata"];
    // A name that the API server is still to make up is no mistake, and what else it keeps there is its own.
    let name = metadata["name"].as_str().filter(|name| !name.is_empty()).unwrap_or("generated");
    let own = json!({"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": object["spec"]});
    match manifest::from_value(&own) {
        Ok(run) => Ok(run.spec),
        Err(mistakes) => {
            let mut told: Vec<String> = mistakes.told.iter().map(|mistake| sentence(&mistake.path, &mistake.message)).collect();
            if mistakes.more > 0 {
                told.push(format!("and {} more", mistakes.more));
            }
            Err(told)
        }
    }
}

fn sentence(path: &str, message: &str) -> String {
    if path.is_empty() { message.to_owned() } else { format!("{path}: {message}") }
}

/// The pod template of the run's first Job: what is tried against the API server.
///
/// # Errors
/// Why no trial can be made of the template.
pub(crate) fn first_template(spec: &AgentRunSpec, name: &str, installation: &Installation) -> Result<Template, String> {
    let combos = spec.combos().map_err(|error| format!("spec.combos: {error}"))?;
    let combo = combos.get(0).ok_or_else(|| "spec.combos: there is no combo".to_owned())?;
    let trial = Trial { run: name, spec, combo_index: 0, combo: &combo, chunk: 0 };
    trial::template(&trial, installation).map_err(|refusal| match refusal.message.starts_with("spec.") {
        true => format!("spec.template: {refusal}"),
        false => format!("spec.template: {}: {}", refusal.reason, refusal.message),
    })
}

/// Everything that is wrong or strange.
pub(crate) fn findings(spec: &AgentRunSpec, template: &Result<Template, String>, found: &Found, shares: bool) -> Findings {
    let mut findings = Findings::default();
    if spec.scoring.command.is_some() {
        let message = "spec.scoring.command: it runs on one machine only: put the program into an image and use `container`";
        findings.errors.push(message.to_owned());
    }
    match template {
        Ok(template) => findings.warnings.extend(template.warnings.iter().cloned()),
        Err(message) => findings.errors.push(message.clone()),
    }
    datapoints(spec, found, &mut findings);
    match &found.attempt {
        None => {}
        Some(Attempt::Taken { warnings }) => findings.warnings.extend(warnings.iter().map(|text| format!("a trial's pod: {text}"))),
        Some(Attempt::Refused { message }) => {
            let advice = crate::diagnose::advice(message);
            findings.errors.push(format!("spec.template: the API server refuses its pods: {message}{advice}"));
        }
        Some(Attempt::Unknown { why }) => findings.warnings.push(format!("spec.template could not be tried: {why}")),
    }
    if let (Some(trust), Some(false)) = (&spec.trust, found.trust) {
        let map = &trust.config_map;
        findings.warnings.push(format!("spec.trust: there is no ConfigMap `{}` with key `{}` yet: pods wait for it", map.name, map.key));
    }
    if spec.cache.scope == CacheScope::Shared && !shares {
        findings.warnings.push("spec.cache.scope: Shared is not allowed for this namespace: it works as Namespace".to_owned());
    }
    let unpriced = unpriced(spec);
    if !unpriced.is_empty() {
        let names: Vec<&str> = unpriced.iter().map(String::as_str).collect();
        findings.warnings.push(format!("no price is known of {}: calls count as unpriced", names.join(", ")));
    }
    findings
}

fn datapoints(spec: &AgentRunSpec, found: &Found, findings: &mut Findings) {
    let inline = spec.dataset.config_map.is_none();
    let source = match (&found.dataset, inline) {
        (Some(source), _) => source,
        (None, true) => &Source::Inline,
        (None, false) => return,
    };
    if let Err(problem) = dataset::read(spec, source) {
        let message = format!("spec.dataset: {}", problem.message);
        // What is not there yet may come; what is wrong stays wrong.
        let list = if problem.reason == "DatasetMissing" { &mut findings.warnings } else { &mut findings.errors };
        list.push(message);
    }
}

/// Models of which no provider's price is known.
fn unpriced(spec: &AgentRunSpec) -> BTreeSet<String> {
    let hosts = Hosts::builtin();
    let names = hosts.names().into_iter().map(|name| name.replace('*', "x"));
    let providers: BTreeSet<String> = names.filter_map(|name| hosts.find(&name).map(|provider| provider.name.clone())).collect();
    let prices = PriceTable::builtin();
    let listed = spec.combos.iter().flat_map(|combo| combo.models.values());
    let used: BTreeSet<&String> = match spec.combos.is_empty() {
        true => spec.roles.iter().flat_map(|role| &role.models).collect(),
        false => listed.collect(),
    };
    let routed = spec.routing.iter().flat_map(|policy| policy.models());
    let is_known = |model: &str| providers.iter().any(|provider| prices.knows(provider, model));
    used.into_iter().map(String::as_str).chain(routed).filter(|model| !is_known(model)).map(str::to_owned).collect()
}

/// The answer to what was found.
pub(crate) fn answer(findings: Findings) -> Answer {
    let warnings = told(findings.warnings);
    match findings.errors.as_slice() {
        [] => Answer { warnings, ..Answer::admitted() },
        errors => Answer { warnings, ..denial(errors) },
    }
}

/// Denies with all mistakes.
pub(crate) fn denial(errors: &[String]) -> Answer {
    match errors {
        [one] => Answer::denied(422, one.clone()),
        several => Answer::denied(422, format!("{} mistakes:\n- {}", several.len(), several.join("\n- "))),
    }
}

/// Whether a change of the spec makes it worth asking the cluster again.
pub(crate) fn asks_anew(before: &Value, object: &Value) -> bool {
    let fields = ["template", "agent", "capture", "providers", "upstreams", "trust", "dataset", "roles", "combos"];
    before.is_null() || fields.iter().any(|field| before["spec"][field] != object["spec"][field])
}

/// A note for the author that something took too long to be looked at.
pub(crate) fn unlooked(what: &str) -> String {
    shortened(&format!("{what} could not be looked at in time"))
}
