//! A run while everything around it is killed at random: it completes, nothing is counted twice, nothing that had ended is lost.
//!
//! `AGENTRUN_CHAOS_ROUNDS` says how often something is killed (3 where it is not set), `AGENTRUN_CHAOS_TRIALS` how many trials the run has (24), a
//! multiple of 4, and `AGENTRUN_CHAOS_SEED` in which order things are killed. The whole measure is 30 rounds in 100 trials.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agentrun_tests::cluster::{
    Cluster, Namespace, Provider, SYSTEM, agent_pod_spec, agent_run, kill_process, sidecars, with_namespace_alone,
};
use agentrun_tests::origin::Rule;
use serde_json::{Value, json};

const MODELS: [&str; 2] = ["gpt-4.1", "gpt-4.1-mini"];
/// How long the provider takes to begin an answer: most kills meet calls in flight.
const ANSWER_MILLISECONDS: u64 = 1500;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Operator,
    Hub,
    Sidecar,
    Pod,
    ApiServer,
    Kubelet,
}

const VICTIMS: [Victim; 6] = [Victim::Sidecar, Victim::Hub, Victim::Pod, Victim::ApiServer, Victim::Operator, Victim::Kubelet];

/// Steele's SplitMix64: a test's failure can be repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).expect("below a usize")
    }

    fn choice<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() { None } else { items.get(self.below(items.len())) }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[tokio::test]
async fn a_run_survives_the_death_of_everything_around_it() {
    with_namespace_alone("chaos", async |space| {
        let seed = setting("AGENTRUN_CHAOS_SEED", u64::from(std::process::id()));
        let rounds = usize::try_from(setting("AGENTRUN_CHAOS_ROUNDS", 3)).expect("a number of rounds");
        let provider = Provider(Cluster::get());
        let marker = format!("{}: question", space.name);
        let slow = Rule { contains: vec![marker.clone()], delay_milliseconds: ANSWER_MILLISECONDS, ..Rule::default() };
        provider.rules("chaos", &[slow]).await;
        let trials = setting("AGENTRUN_CHAOS_TRIALS", 24);
        space.create(&chaos_run(&marker, trials / MODELS.len() as u64)).await;
        space.until("agentrun/chaos", "running", |run| run["status"]["trials"]["running"].as_i64() > Some(0)).await;

        let _supervision = space.cluster.supervise();
        let killed = kill_at_random(&space, &mut Random(seed), rounds).await;
        let run = space.run_ends("chaos").await;
        say(&format!("seed {seed}: killed {killed:?}; {}", run["status"]["trials"]));
        every_trial_has_one_end(&space, &run, trials).await;
        let count = |victim: Victim| killed.get(&victim).copied().unwrap_or_default();
        let cuts = count(Victim::Sidecar) + count(Victim::Pod);
        nothing_is_lost_or_paid_twice(&space, provider, &marker, cuts).await;
    })
    .await;
}

/// Two combos, each question asked by two datapoints: half as many distinct calls as trials.
fn chaos_run(marker: &str, datapoints: u64) -> Value {
    let questions: Vec<String> = (0..datapoints).map(|index| format!("{marker} {}", index / 2)).collect();
    let questions: Vec<&str> = questions.iter().map(String::as_str).collect();
    let mut run = agent_run("chaos", &MODELS, &questions, agent_pod_spec("registry.test/agent-go:1", &["/chat"]));
    run["spec"]["capture"] = json!(["Connect", "Dns"]);
    run["spec"]["cache"] = json!({"scope": "Run"});
    run["spec"]["limits"] = json!({"parallelism": 6, "retries": 10});
    run
}

async fn kill_at_random(space: &Namespace, random: &mut Random, rounds: usize) -> BTreeMap<Victim, usize> {
    let mut killed = BTreeMap::new();
    for _ in 0..rounds {
        // Rounds are apart by time, as their effects have no common end to wait for.
        tokio::time::sleep(Duration::from_millis(1000 + random.below(4000) as u64)).await;
        // Each kind is equally likely: where there is none of it, as when the API server has just come back, it is waited for.
        let victim = VICTIMS[random.below(VICTIMS.len())];
        let killing = async {
            while !kill(space, random, victim).await {
                if is_over(space).await {
                    return false;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            true
        };
        let found = tokio::time::timeout(Duration::from_secs(180), killing).await;
        if !found.unwrap_or_else(|_| panic!("there is no {victim:?} to kill; killed so far: {killed:?}")) {
            say("the run was over before all rounds were");
            break;
        }
        *killed.entry(victim).or_default() += 1;
    }
    killed
}

async fn is_over(space: &Namespace) -> bool {
    let arguments = ["-n", &space.name, "get", "agentrun/chaos", "-o", "jsonpath={.status.phase}"];
    space.cluster.try_kubectl(&arguments).await.is_ok_and(|phase| phase == "Complete")
}

/// Kills one such; false where there is none at the moment.
async fn kill(space: &Namespace, random: &mut Random, victim: Victim) -> bool {
    match victim {
        Victim::Operator => kill_pod(space.cluster, random, SYSTEM, "app.kubernetes.io/component=operator").await,
        Victim::Hub => kill_pod(space.cluster, random, SYSTEM, "app.kubernetes.io/component=hub").await,
        Victim::Pod => kill_pod(space.cluster, random, &space.name, "agentrun.dev/run=chaos").await,
        Victim::Sidecar => kill_sidecar(random),
        Victim::ApiServer => restart(space.cluster, "kube-apiserver").await,
        Victim::Kubelet => restart(space.cluster, "kubelet").await,
    }
}

async fn kill_pod(cluster: &Cluster, random: &mut Random, namespace: &str, selector: &str) -> bool {
    let arguments = ["-n", namespace, "get", "pods", "-l", selector, "--field-selector=status.phase=Running", "-o", "name"];
    // The API server may be on its way back.
    let Ok(names) = cluster.try_kubectl(&arguments).await else { return false };
    let names: Vec<&str> = names.lines().collect();
    let Some(name) = random.choice(&names) else { return false };
    cluster.try_kubectl(&["-n", namespace, "delete", name, "--force", "--grace-period=0", "--wait=false"]).await.is_ok()
}

fn kill_sidecar(random: &mut Random) -> bool {
    random.choice(&sidecars()).is_some_and(|(process, _)| kill_process(process))
}

async fn restart(cluster: &Cluster, part: &str) -> bool {
    cluster.rig(&["kill", part]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.rig(&["start", part]).await;
    true
}

async fn every_trial_has_one_end(space: &Namespace, run: &Value, trials: u64) {
    let status = &run["status"];
    assert_eq!(status["phase"], "Complete", "{status:#}");
    assert_eq!(status["trials"]["succeeded"], trials, "an infrastructure failure is tried again: {status:#}");
    for result in status["results"].as_array().into_iter().flatten() {
        assert_eq!((&result["failed"], &result["score"]), (&0.into(), &"1.0000".into()), "{result:#}");
    }
    let found = space.run_items("chaos", "trials").await;
    let distinct: BTreeSet<_> = found.iter().map(|trial| (trial["combo_id"].to_string(), trial["data_id"].to_string())).collect();
    assert_eq!((found.len() as u64, distinct.len() as u64), (trials, trials));
}

/// What the provider answered is recorded, but for calls that a kill cut off: at most one for each sidecar or pod that was killed.
async fn nothing_is_lost_or_paid_twice(space: &Namespace, provider: Provider, marker: &str, cuts: usize) {
    let records = space.run_items("chaos", "calls").await;
    let paid = records.iter().filter(|record| record["cached"] == false && record["outcome"] == "complete");
    let recorded: BTreeSet<String> = paid.filter_map(|record| record["response_body"]["id"].as_str().map(str::to_owned)).collect();
    let asked = provider.calls(marker).await.len();
    assert!(recorded.len() + cuts >= asked, "{asked} calls were answered and {} recorded, with {cuts} cut off", recorded.len());
    let repeated: usize = provider.counts(marker).await.values().map(|count| count - 1).sum();
    assert!(repeated <= cuts, "{repeated} calls were paid again, with {cuts} cut off");
    let ids: BTreeSet<_> = records.iter().map(|record| record["id"].to_string()).collect();
    assert_eq!(ids.len(), records.len(), "no record is stored twice");
    say(&format!("{asked} calls asked, {} recorded as paid, {repeated} repeated, {cuts} possibly cut off", recorded.len()));
}

#[allow(clippy::print_stderr, reason = "the seed and what was killed are needed to repeat a failure")]
fn say(text: &str) {
    eprintln!("chaos: {text}");
}
