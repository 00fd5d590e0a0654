//! Writing YAML that YAML 1.1 and 1.2 readers alike read back.

use crate::agent_run::AgentRun;

/// The resource as YAML. Words that YAML 1.1 takes for booleans (`Off`, `no`) are quoted, so that kubectl reads text.
///
/// # Errors
/// None that a resource can cause; the writer's own.
pub fn to_yaml(run: &AgentRun) -> Result<String, serde_saphyr::SerializeError> {
    serde_saphyr::to_string(run)
}
