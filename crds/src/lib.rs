//! The AgentRun resource: types, schema, manifests with their mistakes.
