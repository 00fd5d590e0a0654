//! `agentrun serve`: the gateway, for clients of AgentOpt and others.

use std::{
    env, fs,
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agentrun_llm::provider::Hosts;
use agentrun_protocol::sentence;
use agentrun_sidecar::{
    CacheConfig, CacheScope, Config, Retention, Session,
    gateway::{Gateway, Settings, Token},
    route::{Policy, RandomPolicy, Router},
};
use anyhow::Context as _;
use tokio::{
    net::lookup_host,
    signal::unix::{SignalKind, signal},
};

use super::{COMPLETE, Context, Refused, readable, router, start_proxy};
use crate::{args, local::raise_open_files, settings::make_private};

/// How long running calls may take to end once it is told to stop: supervisors wait ten seconds.
const GRACE: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or SIGINT.
pub(crate) async fn run(arguments: args::Serve, context: &Context) -> anyhow::Result<u8> {
    let folder = cache_folder(&arguments.cache_dir)?;
    let address = address(&arguments).await?;
    let token = token(&arguments, address.ip())?;
    no_modules(&arguments.policy_module)?;
    let router = default_router(&arguments)?;
    readable(&arguments.upstream.authorities)?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for signals")?;
    make_private(&folder).with_context(|| format!("making {}", folder.display()))?;
    raise_open_files();

    let mut hosts = Hosts::builtin().with_plain();
    arguments.upstream.add_to(&mut hosts);
    let journal = folder.join("calls.db");
    let (agentopt, max_age) = (Some(arguments.cache_scope), arguments.cache_max_age.0);
    let cache = CacheConfig { path: Some(folder.join("cache.db")), agentopt, max_age, ..CacheConfig::default() };
    let config = Config {
        hosts,
        upstreams: arguments.upstream.rules,
        upstream_ca: arguments.upstream.authorities,
        cache,
        journal: Some(journal.clone()),
        asked: true,
        retention: Some(Retention { age: arguments.retention.0, records: arguments.retention_records }),
        ..Config::default()
    };
    let sidecar = start_proxy(config)?;
    let names = (token.is_none() && address.ip().is_loopback()).then(|| vec![arguments.host.clone()]);
    let policy = if router.is_some() { "sessions are routed unless they say otherwise" } else { "no default router" };
    // Users of one gateway share its cache.
    let session = Session { scope: "serve".to_owned(), by_credential: true, router, ..Session::default() };
    let settings = Settings { journal, token, names, session };
    let gateway = Gateway::open(sidecar.clone(), address, settings).await.context("opening the gateway")?;
    sidecar.declare_ready();
    let line = format!("agentrun serve listening on http://{} (cache dir: {}); {policy}", gateway.address(), folder.display());
    context.printer.talk(&line);
    for warning in warnings(&folder, arguments.cache_scope) {
        context.printer.warning(&warning);
    }
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    gateway.serve(stop, GRACE).await;
    Ok(COMPLETE)
}

/// Who can see more than users may think. A file that AgentOpt has made can be read by everybody, and may be meant to be.
fn warnings(folder: &Path, scope: CacheScope) -> Vec<String> {
    let others = |file: &PathBuf| fs::metadata(file).map_or(0, |found| found.permissions().mode() & 0o077) != 0;
    let open = ["cache.db", "calls.db"].map(|name| folder.join(name)).into_iter().filter(others);
    let told = |file: PathBuf| format!("others can read {0}, which holds prompts and answers: chmod 600 {0}", file.display());
    let shared = "--cache-scope legacy: stored answers are given to whoever asks, for any host and with any credential";
    open.map(told).chain((scope == CacheScope::Legacy).then(|| shared.to_owned())).collect()
}

/// The folder that `--cache-dir` names, whatever the current one is later.
fn cache_folder(named: &str) -> anyhow::Result<PathBuf> {
    if named.trim().is_empty() {
        return Err(Refused("--cache-dir cannot be empty: name a folder".to_owned()).into());
    }
    let home = || env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let folder = match named.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/')).zip(home()) {
        Some((rest, home)) => home.join(rest.trim_start_matches('/')),
        None => PathBuf::from(named),
    };
    Ok(env::current_dir().context("finding the current folder")?.join(folder))
}

/// Where to listen, if that may be.
async fn address(arguments: &args::Serve) -> anyhow::Result<SocketAddr> {
    let host = arguments.host.trim_start_matches('[').trim_end_matches(']');
    let found: Vec<_> = lookup_host((host, arguments.port)).await.with_context(|| format!("looking up --host {host}"))?.collect();
    // Clients try both families of a name; one is enough, and IPv4 is the default's.
    let address = found.iter().find(|address| address.is_ipv4()).or(found.first()).copied();
    let address = address.with_context(|| format!("--host {host} has no address"))?;
    if !address.ip().is_loopback() && !arguments.allow_remote {
        let text =
            format!("refusing to bind {host}: other machines would reach it; give --allow-remote with --token-file, or --host 127.0.0.1");
        return Err(Refused(text).into());
    }
    Ok(address)
}

/// What callers must show.
fn token(arguments: &args::Serve, address: IpAddr) -> Result<Option<Token>, Refused> {
    if let Some(path) = &arguments.token_file {
        return Token::read(path).map(Some).map_err(|error| Refused(format!("--token-file: {}", sentence(&error))));
    }
    if !address.is_loopback() && !arguments.insecure {
        let text = "refusing to bind {address} without a token: whoever reaches it could read all prompts; give --token-file, or --insecure where a \
                    network policy or a proxy lets nobody else in";
        return Err(Refused(text.replace("{address}", &address.to_string())));
    }
    Ok(None)
}

/// Policies in Python cannot be imported here.
fn no_modules(modules: &[PathBuf]) -> Result<(), Refused> {
    let Some(module) = modules.iter().find(|module| !module.is_file()).or(modules.first()) else { return Ok(()) };
    let name = module.display();
    if !module.is_file() {
        return Err(Refused(format!("--policy-module: {name} does not exist or is not a file")));
    }
    let stem = module.file_stem().unwrap_or_default().display();
    Err(Refused(format!(
        "--policy-module: {name} cannot be imported, as no Python runs here: host {stem}'s routers in a process of their own and name that in a \
         --routing file with `webhook`, or as a session's policy; docs/routing.md shows how"
    )))
}

/// Who chooses the models of sessions that say nothing of it.
fn default_router(arguments: &args::Serve) -> Result<Option<Arc<Router>>, Refused> {
    let candidates: Option<Vec<String>> = arguments.candidate_models.as_deref().map(|list| {
        let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
        names.map(str::to_owned).collect()
    });
    match arguments.routing_policy.as_deref() {
        None if candidates.is_some() || arguments.seed.is_some() => {
            Err(Refused("--candidate-models and --seed require --routing-policy random".to_owned()))
        }
        None => arguments.routing.as_deref().map(Path::new).map(router).transpose(),
        Some("random") => {
            let candidates = candidates.unwrap_or_default();
            if candidates.is_empty() {
                return Err(Refused("--routing-policy random requires --candidate-models MODEL,MODEL".to_owned()));
            }
            let policy = Policy::Random(RandomPolicy { candidates, seed: arguments.seed, ..RandomPolicy::default() });
            Router::new(&policy).map(Some).map_err(|error| Refused(error.to_string()))
        }
        Some(other) => {
            Err(Refused(format!("--routing-policy {other:?} is not a built-in: there is random; --routing FILE takes rules and webhooks")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_folder_is_absolute() {
        let current = env::current_dir().unwrap();
        assert_eq!(cache_folder("a/b").unwrap(), current.join("a/b"));
        assert_eq!(cache_folder("/a").unwrap(), Path::new("/a"));
        assert_eq!(cache_folder("~x").unwrap(), current.join("~x"), "another user's home is not known");
        if let Some(home) = env::var_os("HOME").filter(|home| !home.is_empty()) {
            assert_eq!(cache_folder("~").unwrap(), Path::new(&home).join(""));
            assert_eq!(cache_folder("~/a").unwrap(), Path::new(&home).join("a"));
        }
        assert!(cache_folder(" ").unwrap_err().to_string().contains("cache-dir cannot be empty"));
    }

    #[test]
    fn what_others_can_read_is_told() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(warnings(folder.path(), CacheScope::Credential), Vec::<String>::new());
        let file = folder.path().join("cache.db");
        fs::write(&file, "").unwrap();
        for (mode, told) in [(0o600, 0), (0o640, 1), (0o604, 1)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(warnings(folder.path(), CacheScope::Credential).len(), told, "{mode:o}");
        }
        assert!(warnings(folder.path(), CacheScope::Legacy)[1].contains("--cache-scope legacy"));
    }
}
