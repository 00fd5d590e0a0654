//! The resource as its users meet it: manifests in, mistakes and YAML out.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod definition;
mod docs;
mod full;
mod hostile;
mod mistakes;
mod schema;
mod status;
mod yaml;
