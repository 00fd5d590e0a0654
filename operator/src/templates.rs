//! Finished pod templates: the user's, with the installation's sidecar.

use agentrun_crds::AgentRunSpec;
use agentrun_eval::combo::Combo;
use serde_json::Value;
use tokio::sync::watch;

use crate::controller::plan::Templates;
use crate::inject::Installation;
use crate::inject::trial::{self, Trial};
use crate::objects::job::{Place, Template};
use crate::objects::scoring;
use crate::run::Run;

/// Injects the sidecar of an installation.
#[derive(Debug)]
pub struct Injected {
    installation: Installation,
    authority: watch::Receiver<String>,
}

impl Injected {
    /// `authority` holds the certificates (PEM) that pods know the hub by.
    pub fn new(installation: Installation, authority: watch::Receiver<String>) -> Self {
        Self { installation, authority }
    }

    fn now(&self) -> Installation {
        Installation { hub_ca: self.authority.borrow().clone(), ..self.installation.clone() }
    }
}

impl Templates for Injected {
    fn trials(&self, run: &Run, spec: &AgentRunSpec, place: Place, combo: &Combo) -> Result<Template, String> {
        let combo_index = usize::try_from(place.combo).map_err(|_| "the combo's index is too large".to_owned())?;
        let trial = Trial { run: &run.name, spec, combo_index, combo, chunk: place.chunk };
        let made = trial::template(&trial, &self.now()).map_err(|refusal| format!("spec.template: {}", refusal.message))?;
        Ok(Template { pod: made.template, container: made.container })
    }

    fn scoring(&self, _: &Run, spec: &AgentRunSpec) -> Result<Value, String> {
        scoring::template(spec, &self.now())
    }
}
