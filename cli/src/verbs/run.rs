//! `agentrun run`: a manifest, evaluated on this machine.

use std::{path::Path, sync::Arc, time::Duration};

use agentrun_hub::{Begun, Phase, RunRecord, RunStart, Store};
use agentrun_protocol::sentence;
use agentrun_sidecar::{CacheConfig, CaptureMode, Config};
use anyhow::Context as _;
use jiff::Timestamp;

use super::{COMPLETE, Context, FAILED, INTERRUPTED, Refused, readable, start_proxy};
use crate::{
    args,
    local::{
        self, Lease,
        certificates::Certificates,
        environment::{self, Interception},
        identity, ledger, leftover, observed,
        plan::Plan,
        progress::Progress,
        stop::Stop,
        trial::Bench,
    },
    report::{Report, Standing},
    settings::State,
    simulate::{Simulation, Simulator},
    view,
};

/// How long calls that outlive their trial are waited for at the end.
const GRACE: Duration = Duration::from_secs(5);

/// Evaluates a manifest, or goes on where an earlier process was.
pub(crate) async fn run(arguments: args::Run, context: &Context) -> anyhow::Result<u8> {
    let printer = &context.printer;
    local::raise_open_files();
    let inherited = environment::inherited();
    let mut plan = Plan::read(&arguments.file, &inherited).map_err(|error| Refused(sentence(&error)))?;
    arguments.upstream.add_to(&mut plan.hosts);
    readable(&arguments.upstream.authorities)?;
    let simulation = simulation(&arguments)?;
    plan.notes.iter().for_each(|note| printer.note(note));
    if simulation.is_some() {
        printer.warning("this is a simulation: no model is asked, nothing is paid, and scores say nothing about real models");
    }

    let state = State::at(&context.state, simulation.is_some())?;
    state.prepare()?;
    let store = Arc::new(context.store(&state)?);
    let stop = {
        let printer = printer.clone();
        Stop::on_signals(move |message| printer.talk(message)).context("listening for signals")?
    };
    let start = RunStart {
        name: plan.name.clone(),
        fingerprint: plan.fingerprint(simulation.as_ref().map(|(_, text)| text.as_str())),
        manifest: serde_json::to_string(&plan.manifest).context("storing the manifest")?,
        datapoints: serde_json::to_string(&plan.dataset.iter().map(|datapoint| &datapoint.id).collect::<Vec<_>>())?,
        trials: plan.spec.trials(),
        again: arguments.again,
    };
    let owner = identity::own();
    let run = match store.begin(&start, &owner, Timestamp::now(), identity::is_alive)? {
        Begun::Finished(run) => {
            printer.note(&format!("run `{}` is complete and unchanged: this is its stored result (--again evaluates it again)", run.name));
            return show(&arguments, context, &state, &store, &run);
        }
        Begun::Resumed(run) => {
            printer.note(&format!("going on with run `{}`, begun {}", run.name, run.started.strftime("%Y-%m-%d %H:%M:%S UTC")));
            run
        }
        Begun::New(run) => run,
    };
    let lease = Lease { store: store.clone(), run, owner };
    let worked = if plan.manifest.spec.suspend {
        printer.note("spec.suspend is true: nothing is started");
        Ok(())
    } else {
        work(&arguments, context, &state, plan.clone(), simulation.map(|(simulation, _)| simulation), &lease, stop.clone()).await
    };
    let phase = phase(&plan, &lease, stop.is_asked(), worked.is_err())?;
    let spending = ledger::spending(&state.calls(), &lease.run).map_err(|error| {
        printer.warning(&format!("{}; only the calls of finished trials are counted", sentence(&error)));
    });
    store.release(&lease.run, &lease.owner, phase, spending.ok().as_ref(), Timestamp::now())?;
    worked?;
    let run = store.run(&plan.name)?.context("reading the run back")?;
    show(&arguments, context, &state, &store, &run)
}

fn simulation(arguments: &args::Run) -> Result<Option<(Simulation, String)>, Refused> {
    if !arguments.simulate {
        return Ok(None);
    }
    let beside = || arguments.file.parent().unwrap_or(Path::new("")).join("simulation.yaml");
    let path = arguments.simulation.clone().unwrap_or_else(beside);
    Simulation::read(&path).map(Some).map_err(|error| Refused(sentence(&error)))
}

/// Runs the trials that are left.
async fn work(
    arguments: &args::Run,
    context: &Context,
    state: &State,
    plan: Plan,
    simulation: Option<Simulation>,
    lease: &Lease,
    stop: Stop,
) -> anyhow::Result<()> {
    let printer = &context.printer;
    let folder = state.trials(&plan.name);
    let ended = leftover::end(&folder);
    if ended > 0 {
        printer.note(&format!("ended {ended} processes that an earlier, killed agentrun had left behind"));
    }
    let sidecar = start_proxy(config(arguments, state, &plan, simulation))?;
    let certificates =
        Certificates::write(state, sidecar.ca_pem(), sidecar.bundle_pem()).context("writing the certificates that agents trust")?;
    let (connect, base_url) = plan.capture;
    let interception = Interception {
        authority: certificates.authority(),
        bundle: certificates.bundle(),
        connect,
        base_url,
        local_hosts: plan.local_hosts.clone(),
    };
    let stored = lease.store.trials(lease.run.id)?;
    let data_ids: Vec<String> = plan.dataset.iter().map(|datapoint| datapoint.id.clone()).collect();
    let mut observations = observed::observations(&plan.combos, &data_ids, &stored);
    let before = observations.iter().filter(|(_, observation)| observation.state.is_final()).count();
    let mut progress = Progress::new(printer.clone(), state.is_simulated(), before as u64);
    let parallelism = arguments.parallelism.map_or(plan.parallelism, usize::from);
    let plan = Arc::new(plan);
    let bench = Arc::new(Bench { plan, sidecar, interception, inherited: environment::inherited(), folder: folder.clone(), stop });
    let evaluated = local::evaluate(&bench, lease, &mut observations, parallelism, &mut progress).await;
    if let Some(bench) = Arc::into_inner(bench) {
        bench.sidecar.stop(GRACE).await;
    }
    leftover::end(&folder);
    // Trials remove their own folders; this one is empty, or the next command's to clear.
    drop(std::fs::remove_dir(&folder));
    evaluated.context("storing the trials' results")
}

fn config(arguments: &args::Run, state: &State, plan: &Plan, simulation: Option<Simulation>) -> Config {
    let upstreams = arguments.upstream.rules.iter().chain(&plan.upstreams).cloned().collect();
    Config {
        hosts: plan.hosts.clone(),
        upstreams,
        upstream_ca: arguments.upstream.authorities.clone(),
        cache: CacheConfig { path: Some(state.cache()), ..CacheConfig::default() },
        journal: Some(state.calls()),
        capture: vec![CaptureMode::Connect, CaptureMode::BaseUrl],
        origin: simulation.map(|simulation| Arc::new(Simulator::new(simulation, plan.dataset.clone(), plan.hosts.clone())) as _),
        ..Config::default()
    }
}

/// What has become of a run that this process has worked on.
fn phase(plan: &Plan, lease: &Lease, stopped: bool, broken: bool) -> anyhow::Result<Phase> {
    if plan.manifest.spec.suspend {
        return Ok(Phase::Suspended);
    }
    if broken {
        return Ok(Phase::Interrupted);
    }
    let trials = lease.store.trials(lease.run.id)?;
    let count = |state| trials.iter().filter(|trial| trial.state == state).count() as u64;
    use agentrun_hub::TrialState::{Failed, Lost, Succeeded, Unobserved};
    let ended = count(Succeeded) + count(Failed) + count(Unobserved) + count(Lost);
    Ok(match () {
        () if ended < plan.spec.trials() && stopped => Phase::Interrupted,
        // A trial that infrastructure has kept from its result, or no result at all.
        () if ended < plan.spec.trials() || count(Lost) > 0 || count(Succeeded) == 0 => Phase::Failed,
        () => Phase::Complete,
    })
}

/// Writes the run as it stands, and says by the exit code how it stands.
fn show(arguments: &args::Run, context: &Context, state: &State, store: &Store, run: &RunRecord) -> anyhow::Result<u8> {
    let report = Report::of(run, &store.trials(run.id)?, state.is_simulated())?;
    let bytes = match arguments.output {
        args::Format::Table => view::run::text(&report).into_bytes(),
        args::Format::Json => view::json(&report.resource)?,
        args::Format::Yaml => view::yaml(&report.resource)?,
        args::Format::Csv => view::csv(&view::run::columns(&report))?,
    };
    context.printer.data(&bytes)?;
    Ok(match report.phase {
        Standing::Complete | Standing::Suspended => COMPLETE,
        Standing::Interrupted => INTERRUPTED,
        Standing::Failed | Standing::Running | Standing::Pending => {
            explain(context, &report);
            FAILED
        }
    })
}

fn explain(context: &Context, report: &Report) {
    let trials = &report.summary.trials;
    let why = match () {
        () if trials.succeeded == 0 && trials.unobserved > 0 => {
            "no trial succeeded, and in some no call was seen: does the agent ignore proxies? Try spec.capture: [Connect, BaseUrl]"
        }
        () if trials.succeeded == 0 => "no trial succeeded: see the failures above, put them right, and run the command again",
        () => "some trials could not be run to their end (no fault of the agent's): the same command tries them again",
    };
    context.printer.error(why);
}
