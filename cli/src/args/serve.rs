//! `agentrun serve`: the flags of `agentopt serve`, and our own.

use std::{path::PathBuf, str::FromStr, time::Duration};

use agentrun_sidecar::CacheScope;
use clap::Args;

use super::Upstream;

#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// The address to listen at, for the control plane and for sessions
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// The control plane's port; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 9000)]
    pub(crate) port: u16,
    /// The folder of cached answers (cache.db, which AgentOpt can read) and records (calls.db)
    #[arg(long, value_name = "DIR", default_value = ".agentopt_cache")]
    pub(crate) cache_dir: String,
    /// Who may be given what stands in AgentOpt's table: credential (rows of AgentOpt's for anyone, our answers for who paid), or legacy (all for anyone)
    #[arg(long, value_name = "SCOPE", default_value = "credential")]
    pub(crate) cache_scope: CacheScope,
    /// How long our answers are good for: 90s, 15m, 2h, 7d, or forever
    #[arg(long, value_name = "TIME", default_value = "forever")]
    pub(crate) cache_max_age: Age,
    /// Listen at an address that other machines reach; give --token-file too
    #[arg(long)]
    pub(crate) allow_remote: bool,
    /// Answer only callers that show the token in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Answer other machines without a token
    #[arg(long, conflicts_with = "token_file")]
    pub(crate) insecure: bool,
    /// Choose the models of sessions that bring no router: random
    #[arg(long, value_name = "POLICY")]
    pub(crate) routing_policy: Option<String>,
    /// What `random` chooses from
    #[arg(long, value_name = "MODEL,MODEL")]
    pub(crate) candidate_models: Option<String>,
    /// What `random` begins with; equal seeds choose the same
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) seed: Option<i64>,
    /// Choose the models of sessions that bring no router by the policy in this file: random, rules or webhook
    #[arg(long, value_name = "FILE", conflicts_with = "routing_policy")]
    pub(crate) routing: Option<PathBuf>,
    /// Not supported: a policy in Python runs in a process of its own, behind the policy `webhook`
    #[arg(long, value_name = "FILE")]
    pub(crate) policy_module: Vec<PathBuf>,
    /// How long records are kept: 90s, 15m, 2h, 7d, or forever
    #[arg(long, value_name = "TIME", default_value = "7d")]
    pub(crate) retention: Age,
    /// How many records are kept, the newest
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) retention_records: u64,
    #[command(flatten)]
    pub(crate) upstream: Upstream,
    /// Log what happens
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// How old something may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Age(pub(crate) Option<Duration>);

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "forever" {
            return Ok(Self(None));
        }
        let seconds = super::since::seconds(text).filter(|seconds| *seconds > 0);
        let refusal = || format!("`{text}` is no time to keep something; write 90s, 15m, 2h, 7d or forever");
        seconds.map(|seconds| Self(Some(Duration::from_secs(seconds)))).ok_or_else(refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_span_or_forever() {
        assert_eq!("7d".parse(), Ok(Age(Some(Duration::from_secs(604_800)))));
        assert_eq!("forever".parse(), Ok(Age(None)));
        for wrong in ["", "0s", "7", "7w", "-1d", "é"] {
            assert!(wrong.parse::<Age>().unwrap_err().contains("7d or forever"), "{wrong}");
        }
    }
}
