//! What a manifest names, read and checked on this machine.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    sync::Arc,
};

use agentrun_crds::{AgentRun, agent::Input as InputWay, dataset::DatasetSource, network::CaptureMode};
use agentrun_eval::{combo::Combos, dataset::Dataset, score::Scoring as Scorer};
use agentrun_llm::provider::Hosts;
use agentrun_protocol::sentence;
use agentrun_sidecar::{UpstreamRule, route::Router};

use crate::{
    bounded,
    local::{
        agent::{Agent, find_program},
        environment::{Variables, kept_from_proxy, local_host},
        exchange::unfit_for_environment,
        scoring::Scoring,
    },
};

/// The largest dataset.
const DATASET_BYTES: u64 = 1 << 30;
/// How many mistakes of one kind are told.
const MOST_MISTAKES: usize = 20;

/// What was read beside the manifest.
pub(super) struct Parts {
    pub(super) combos: Combos,
    pub(super) dataset: Dataset,
    pub(super) agent: Agent,
    pub(super) scoring: Scoring,
    pub(super) hosts: Hosts,
    pub(super) upstreams: Vec<UpstreamRule>,
    pub(super) local_hosts: Vec<String>,
    pub(super) router: Option<Arc<Router>>,
}

/// Gathers what is wrong, so that all of it is told at once.
pub(super) struct Check<'a> {
    pub(super) manifest: &'a AgentRun,
    pub(super) home: &'a Path,
    pub(super) inherited: &'a Variables,
    pub(super) mistakes: Vec<String>,
    pub(super) notes: Vec<String>,
}

impl Check<'_> {
    /// Reads all that the manifest names; `None` where a part of it cannot be had.
    pub(super) fn all(&mut self) -> Option<Parts> {
        let spec = &self.manifest.spec;
        let combos = spec.combos().map_err(|error| format!("spec.roles: {error}"));
        let combos = self.keep(combos);
        let dataset = self.dataset();
        let container = spec.agent.container.as_deref();
        let agent = Agent::read(&spec.template.0, container, self.home, self.inherited).map_err(|error| error.to_string());
        let agent = self.keep(agent);
        let scoring = self.scoring(dataset.as_ref());
        let hosts = self.hosts();
        let upstreams = self.upstreams();
        let router = spec.routing.as_ref().map(Router::of_run).transpose().map_err(|error| format!("spec.routing: {error}"));
        let router = self.keep(router);
        if let Some(dataset) = &dataset {
            self.inputs(dataset);
        }
        if let Some(agent) = &agent {
            self.note_agent(agent);
        }
        if spec.capture.contains(&CaptureMode::Dns) {
            self.notes.push("spec.capture: Dns needs a pod and is left out; Connect takes its place here".to_owned());
        }
        if spec.trust.is_some() {
            self.notes.push("spec.trust: a ConfigMap needs a cluster and is left out; --upstream-ca FILE takes its place here".to_owned());
        }
        let local_hosts = spec.providers.iter().filter_map(|provider| local_host(&provider.base_url)).collect();
        Some(Parts {
            combos: combos?,
            dataset: dataset?,
            agent: agent?,
            scoring: scoring?,
            hosts: hosts?,
            upstreams,
            local_hosts,
            router: router?,
        })
    }

    fn keep<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result.map_err(|mistake| self.mistakes.push(mistake)).ok()
    }

    fn dataset(&mut self) -> Option<Dataset> {
        let dataset = &self.manifest.spec.dataset;
        let limit = usize::try_from(dataset.limit).unwrap_or(0);
        let (file, read) = match dataset.source() {
            DatasetSource::Items(items) => (None, Dataset::from_items(items.to_vec(), limit)),
            DatasetSource::ConfigMap(_) => {
                self.mistakes.push("spec.dataset.configMap: a ConfigMap needs a cluster: use `file` or `items` here".to_owned());
                return None;
            }
            DatasetSource::File(file) => {
                let path = self.home.join(file);
                match bounded::bytes(&path, DATASET_BYTES) {
                    Ok(bytes) => (Some(path), Dataset::from_jsonl(&bytes, limit)),
                    Err(error) => {
                        self.mistakes.push(format!("spec.dataset.file: reading {}: {error}", path.display()));
                        return None;
                    }
                }
            }
        };
        read.map_err(|mistakes| {
            let place = |line: usize| match &file {
                Some(path) => format!("{}: line {line}", path.display()),
                None => format!("spec.dataset.items[{}]", line - 1),
            };
            self.mistakes.extend(mistakes.told.iter().map(|mistake| format!("{}: {}", place(mistake.line), mistake.message)));
            if mistakes.more > 0 {
                self.mistakes.push(format!("and {} more in the dataset", mistakes.more));
            }
        })
        .ok()
    }

    fn scoring(&mut self, dataset: Option<&Dataset>) -> Option<Scoring> {
        let scorer = self.manifest.spec.scoring.scoring().map_err(|error| format!("spec.scoring: {}", sentence(&error)));
        match self.keep(scorer)? {
            None => {
                self.mistakes.push("spec.scoring.container: a container needs a cluster: use `command` or another scorer here".to_owned());
                None
            }
            Some(Scorer::Builtin(scorer)) => {
                let unscorable = dataset.map(|dataset| scorer.unscorable(dataset, MOST_MISTAKES)).unwrap_or_default();
                self.mistakes.extend(unscorable.into_iter().map(|error| format!("spec.scoring: {error}")));
                Some(Scoring::Builtin(scorer))
            }
            Some(Scorer::Command(scorer)) => {
                let program = &scorer.argv()[0];
                let path = self.inherited.get(OsStr::new("PATH")).map(OsString::as_os_str);
                if find_program(program, self.home, path).is_none() {
                    self.mistakes
                        .push(format!("spec.scoring.command: `{program}` is not a program on this machine: install it, or write its path"));
                }
                Some(Scoring::Command { scorer, folder: self.home.to_owned() })
            }
        }
    }

    fn inputs(&mut self, dataset: &Dataset) {
        let InputWay::Env(name) = self.manifest.spec.agent.input.way() else {
            return;
        };
        let unfit = dataset.iter().filter_map(|datapoint| Some((&datapoint.id, unfit_for_environment(name, &datapoint.input_text())?)));
        self.mistakes.extend(unfit.take(MOST_MISTAKES).map(|(id, why)| format!("spec.agent.input.env: datapoint `{id}` {why}")));
    }

    fn hosts(&mut self) -> Option<Hosts> {
        let mut hosts = Hosts::builtin();
        for (index, provider) in self.manifest.spec.providers.iter().enumerate() {
            let shape = agentrun_operator::inject::shape_of(provider.shape);
            let added =
                hosts.add(&provider.name, &provider.base_url, shape).map_err(|error| format!("spec.providers[{index}].baseUrl: {error}"));
            self.keep(added);
        }
        Some(hosts)
    }

    fn upstreams(&mut self) -> Vec<UpstreamRule> {
        let mut rules = Vec::new();
        for (index, upstream) in self.manifest.spec.upstreams.iter().enumerate() {
            let rule =
                format!("{}={}", upstream.host, upstream.url).parse().map_err(|error: String| format!("spec.upstreams[{index}]: {error}"));
            rules.extend(self.keep(rule));
        }
        rules
    }

    fn note_agent(&mut self, agent: &Agent) {
        if !agent.left_out.is_empty() {
            self.notes.push(format!("left out here, as there is no pod: {}", agent.left_out.join(", ")));
        }
        let kept = kept_from_proxy(agent.explicit());
        if !kept.is_empty() {
            let names = kept.join(", ");
            self.notes.push(format!(
                "the template's own {names} is kept: calls that go past the proxy are not seen, and such trials end Unobserved"
            ));
        }
    }
}
