//! Certificates over years, with a clock of our own.

use super::authority::{Authority, Data, KEY, TRUSTED};
use super::plan::{Action, Seen};
use super::*;

const DAY: i64 = 24 * 3600;
const YEAR: i64 = 365 * DAY;

fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn settings() -> Settings {
    Settings::new("agentrun-system", Mode::Auto)
}

/// A cluster with both webhook configurations, and what happens to it.
#[derive(Clone)]
struct Cluster {
    seen: Seen,
    settings: Settings,
}

impl Cluster {
    fn new(settings: Settings) -> Self {
        Self { seen: Seen { bundles: vec![Vec::new(), Vec::new()], ..Seen::default() }, settings }
    }

    fn apply(&mut self, action: Action) {
        let seen = &mut self.seen;
        match action {
            Action::CreateAuthority(data) => _ = seen.authority.get_or_insert(data),
            Action::ReplaceAuthority(data) => (seen.authority, seen.asked) = (Some(data), false),
            Action::CreateLeaf(Server::Webhook, data) => _ = seen.webhook.get_or_insert(data),
            Action::CreateLeaf(Server::Hub, data) => _ = seen.hub.get_or_insert(data),
            Action::ReplaceLeaf(Server::Webhook, data) => seen.webhook = Some(data),
            Action::ReplaceLeaf(Server::Hub, data) => seen.hub = Some(data),
            Action::Trust(bundle) => seen.bundles.iter_mut().for_each(|other| other.clone_from(&bundle)),
        }
    }

    fn plan(&self, now: Timestamp, settled: bool) -> Vec<Action> {
        plan(&self.seen, &self.settings, now, settled, &provider()).unwrap()
    }

    /// Until nothing is left to do.
    fn settle(&mut self, now: Timestamp) -> usize {
        for round in 0..10 {
            let actions = self.plan(now, true);
            if actions.is_empty() {
                return round;
            }
            actions.into_iter().for_each(|action| self.apply(action));
        }
        panic!("there is always more to do: {:?}", self.plan(now, true));
    }

    fn is_agreed(&self, now: Timestamp) -> bool {
        is_agreed(&self.seen, &self.settings, now, &provider())
    }

    fn roots(&self) -> Vec<Vec<u8>> {
        pem::certificates(&self.seen.authority.as_ref().unwrap()[TRUSTED]).unwrap()
    }
}

fn settled(now: Timestamp) -> Cluster {
    let mut cluster = Cluster::new(settings());
    cluster.settle(now);
    cluster
}

fn accepts(data: Option<&Data>, roots: &[Vec<u8>], name: &str, now: Timestamp) -> bool {
    Leaf::read(data.unwrap(), &provider()).unwrap().is_accepted(roots, &[name.to_owned()], now, &provider())
}

const WEBHOOK: &str = "agentrun-webhook.agentrun-system.svc";
const HUB: &str = "agentrun-hub.agentrun-system.svc";

#[test]
fn from_nothing_to_certificates_that_are_trusted() {
    let now = at(0);
    let mut cluster = Cluster::new(settings());
    assert!(!cluster.is_agreed(now));
    assert!(matches!(&cluster.plan(now, false)[..], [Action::CreateAuthority(_)]));
    cluster.settle(now);
    assert!(cluster.is_agreed(now) && accepts(cluster.seen.hub.as_ref(), &cluster.roots(), HUB, now));
    assert!(!accepts(cluster.seen.hub.as_ref(), &cluster.roots(), WEBHOOK, now));
    assert_eq!(cluster.plan(at(3600), true), []);
}

#[test]
fn of_three_replicas_that_begin_at_once_one_makes_the_authority() {
    let now = at(0);
    let mut cluster = Cluster::new(settings());
    let firsts: Vec<Action> = (0..3).flat_map(|_| cluster.plan(now, false)).collect();
    assert!(firsts.windows(2).all(|pair| pair[0] != pair[1]), "each makes its own");
    firsts.into_iter().for_each(|action| cluster.apply(action));
    let seconds: Vec<Action> = (0..3).flat_map(|_| cluster.plan(now, false)).collect();
    seconds.into_iter().for_each(|action| cluster.apply(action));
    assert!(cluster.is_agreed(now));
    assert_eq!(cluster.plan(now, true), []);
}

#[test]
fn a_certificate_is_renewed_at_half_its_life_whatever_the_clock_did() {
    let cluster = settled(at(0));
    assert_eq!(cluster.plan(at(DAY / 2 - 3600), true), []);
    for now in [at(DAY / 2), at(DAY), at(40 * DAY)] {
        let actions = cluster.plan(now, true);
        assert!(matches!(&actions[..], [Action::ReplaceLeaf(Server::Webhook, _), Action::ReplaceLeaf(Server::Hub, _)]), "{actions:?}");
        let mut cluster = cluster.clone();
        assert_eq!(cluster.settle(now), 1);
        assert!(cluster.is_agreed(now));
    }
    assert!(!cluster.is_agreed(at(2 * DAY)), "an expired certificate is not ready");
    assert!(!cluster.is_agreed(at(-2 * DAY)), "nor one that is not valid yet");
}

#[test]
fn a_new_authority_is_trusted_before_it_is_shown_and_no_request_is_refused() {
    let asked = |mut cluster: Cluster| {
        cluster.seen.asked = true;
        (cluster, at(60))
    };
    let aged = |cluster: Cluster| (cluster, at(5 * YEAR + DAY));
    for (mut cluster, now) in [asked(settled(at(0))), aged(settled(at(5 * YEAR)))] {
        if now > at(YEAR) {
            // An authority from the beginning, and certificates of today.
            let first = settled(at(0));
            cluster = Cluster { seen: Seen { authority: first.seen.authority.clone(), ..first.seen }, settings: settings() };
            for server in [Server::Webhook, Server::Hub] {
                let authority = Authority::read(cluster.seen.authority.as_ref().unwrap()).unwrap();
                let leaf = authority.leaf(cluster.settings.names(server), now, DAY).unwrap();
                cluster.apply(Action::ReplaceLeaf(server, leaf));
            }
        }
        let old = cluster.roots();
        let [Action::ReplaceAuthority(authority)] = &cluster.plan(now, true)[..] else { panic!("{:?}", cluster.plan(now, true)) };
        cluster.apply(Action::ReplaceAuthority(authority.clone()));
        assert!(cluster.is_agreed(now), "the old certificate is still trusted");
        let [Action::Trust(bundle)] = &cluster.plan(now, false)[..] else { panic!("{:?}", cluster.plan(now, false)) };
        cluster.apply(Action::Trust(bundle.clone()));
        assert_eq!(pem::certificates(bundle).unwrap().len(), 2);
        assert!(cluster.is_agreed(now));
        assert_eq!(cluster.plan(now, false), [], "the API server is given time to take it in");
        cluster.settle(now);
        assert!(cluster.is_agreed(now));
        // Who has not heard of the new authority: an API server that lags, sidecars that were made before.
        assert!(accepts(cluster.seen.webhook.as_ref(), &old, WEBHOOK, now) && accepts(cluster.seen.hub.as_ref(), &old, HUB, now));
        // And who knows the new one alone.
        assert!(accepts(cluster.seen.hub.as_ref(), &cluster.roots()[..1], HUB, now));
    }
}

#[test]
fn sidecars_from_three_authorities_ago_still_reach_the_hub() {
    let mut cluster = settled(at(0));
    let first = cluster.roots();
    for round in 1..=3 {
        cluster.seen.asked = true;
        cluster.settle(at(round));
        assert!(accepts(cluster.seen.hub.as_ref(), &first, HUB, at(round)), "after {round}");
    }
    for round in 4..20 {
        cluster.seen.asked = true;
        cluster.settle(at(round));
    }
    assert!(cluster.roots().len() <= 4 && cluster.seen.bundles[0].len() < 16 << 10, "what is kept is bounded");
}

#[test]
fn broken_secrets_are_replaced() {
    let now = at(60);
    let good = settled(at(0));
    let other = settled(at(0));
    let change = |data: &Option<Data>, key: &str, value: &[u8]| {
        let mut data = data.clone().unwrap();
        data.insert(key.to_owned(), value.to_vec());
        Some(data)
    };
    let table: [(&str, Option<Data>, bool); 8] = [
        ("no key", Some(Data::new()), true),
        ("text", change(&good.seen.authority, KEY, b"no key"), true),
        (
            "half a certificate",
            change(&good.seen.authority, "tls.crt", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            true,
        ),
        ("not UTF-8", change(&good.seen.authority, KEY, &[0xff, 0xfe]), true),
        ("no certificate", change(&good.seen.webhook, "tls.crt", b""), false),
        ("no key", change(&good.seen.webhook, KEY, b""), false),
        ("another's key", change(&good.seen.webhook, KEY, &other.seen.webhook.as_ref().unwrap()[KEY]), false),
        ("another authority's", other.seen.webhook.clone(), false),
    ];
    for (what, data, is_authority) in table {
        let mut cluster = good.clone();
        if is_authority {
            cluster.seen.authority = data;
        } else {
            cluster.seen.webhook = data;
        }
        let actions = cluster.plan(now, false);
        let first = actions.first();
        let is_right = if is_authority {
            matches!(first, Some(Action::ReplaceAuthority(_)))
        } else {
            matches!(first, Some(Action::ReplaceLeaf(Server::Webhook, _)))
        };
        assert!(is_right, "{what}: {actions:?}");
        cluster.settle(now);
        assert!(cluster.is_agreed(now), "{what}");
    }
}

#[test]
fn a_lost_authority_is_followed_by_one_that_is_trusted_first() {
    let now = at(60);
    let mut cluster = settled(at(0));
    cluster.seen.authority = None;
    for action in cluster.plan(now, true) {
        cluster.apply(action);
    }
    let actions = cluster.plan(now, true);
    assert!(matches!(&actions[..], [Action::Trust(_)]), "{actions:?}");
    assert!(cluster.is_agreed(now));
    cluster.apply(actions[0].clone());
    assert!(cluster.is_agreed(now), "the old certificate is trusted on");
    assert_eq!(cluster.plan(now, false), []);
    cluster.settle(now);
    assert!(cluster.is_agreed(now));
    assert!(accepts(cluster.seen.webhook.as_ref(), &cluster.roots(), WEBHOOK, now));
}

#[test]
fn other_names_make_another_certificate() {
    let mut cluster = settled(at(0));
    cluster.settings.hub_names.push("hub.example".to_owned());
    assert!(matches!(&cluster.plan(at(1), true)[..], [Action::ReplaceLeaf(Server::Hub, _)]));
}

#[test]
fn certificates_from_elsewhere_are_told_and_never_written() {
    let now = at(60);
    let theirs = |second: i64| {
        let authority = Authority::new(at(second), YEAR).unwrap();
        authority.leaf(&settings().webhook_names, at(second), DAY).unwrap()
    };
    let mut cluster = Cluster::new(Settings::new("agentrun-system", Mode::Secret));
    assert_eq!(cluster.plan(now, true), [], "nothing to tell yet");
    cluster.seen.webhook = Some(theirs(0));
    assert!(matches!(&cluster.plan(now, true)[..], [Action::Trust(_)]));
    cluster.settle(now);
    assert!(cluster.is_agreed(now));
    let before = cluster.seen.webhook.clone();
    for round in 0..10 {
        cluster.seen.webhook = Some(theirs(round));
        assert_eq!(cluster.settle(now), 1);
        assert!(cluster.is_agreed(now));
    }
    let bundle = pem::certificates(&cluster.seen.bundles[0]).unwrap();
    assert!((2..=4).contains(&bundle.len()), "{}", bundle.len());
    assert_ne!(cluster.seen.webhook, before);
    cluster.seen.webhook = Some(Data::new());
    assert_eq!(cluster.plan(now, true), []);
    assert!(!cluster.is_agreed(now));
}

/// During an upgrade replicas of both modes are there, and the leader is of the old one until the new ones are ready. Each mode has Secrets of its own.
#[test]
fn a_change_of_mode_needs_no_leader_of_the_new_one_and_settles() {
    let begun = settled(at(0)).seen;
    let auto = (settings(), begun.clone());
    let authority = Authority::new(at(0), YEAR).unwrap();
    let theirs = Some(authority.leaf(&settings().webhook_names, at(0), YEAR).unwrap());
    let secret = (Settings::new("agentrun-system", Mode::Secret), Seen { webhook: theirs, ..Seen::default() });
    let trusts = |roots: &[&Vec<u8>]| vec![pem::text(roots.iter().copied()).into_bytes(); 2];
    // The way back is gone when our own certificate has ended long ago.
    for (old, new, bundles, now) in
        [(&auto, &secret, begun.bundles.clone(), at(60)), (&secret, &auto, trusts(&[&authority.certificate]), at(40 * DAY))]
    {
        let mut replicas = [(new, false), (old, true)].map(|((settings, seen), leads)| (settings, seen.clone(), leads));
        replicas.iter_mut().for_each(|(_, seen, _)| seen.bundles.clone_from(&bundles));
        let mut writes = 0;
        for turn in 0..20 {
            let (settings, seen, leads) = &replicas[turn % 2];
            let may_replace = may_replace(*leads, seen, settings, now, &provider());
            let actions = plan(seen, settings, now, true, &provider()).unwrap();
            for action in actions.into_iter().filter(|_| may_replace) {
                writes += 1;
                match action {
                    Action::Trust(bundle) => replicas.iter_mut().for_each(|(_, seen, _)| seen.bundles = vec![bundle.clone(); 2]),
                    Action::ReplaceLeaf(Server::Webhook, data) => replicas[turn % 2].1.webhook = Some(data),
                    Action::ReplaceLeaf(Server::Hub, data) => replicas[turn % 2].1.hub = Some(data),
                    other => panic!("{other:?}"),
                }
            }
        }
        for (settings, seen, _) in &replicas {
            assert!(is_agreed(seen, settings, now, &provider()), "{:?}", settings.mode);
        }
        assert!(writes <= 6, "they write against each other: {writes}");
    }
}

#[test]
fn without_webhooks_there_is_nothing_to_be_ready_for() {
    let mut cluster = settled(at(0));
    cluster.seen.bundles.clear();
    assert_eq!(cluster.plan(at(1), true), []);
    assert!(!cluster.is_agreed(at(1)));
}

#[test]
fn what_is_served_changes_with_the_secret_and_survives_its_loss() {
    let certificates = Certificates::new(settings());
    assert!(certificates.hub_ca().borrow().is_empty() && !certificates.is_ready());
    let now = Timestamp::now();
    let mut cluster = Cluster::new(settings());
    cluster.settle(now);
    certificates.publish(&cluster.seen);
    assert!(certificates.is_ready() && certificates.hub_ca().borrow().contains("BEGIN CERTIFICATE"));
    assert!(certificates.ends().iter().all(|(_, end)| end.is_some()));
    let first = certificates.current.read().unwrap().key.clone().unwrap();
    cluster.seen.webhook = None;
    cluster.seen.hub = None;
    certificates.publish(&cluster.seen);
    assert!(!certificates.is_ready());
    assert_eq!(certificates.current.read().unwrap().key.as_ref().unwrap().cert, first.cert);
    cluster.settle(now);
    certificates.publish(&cluster.seen);
    assert_ne!(certificates.current.read().unwrap().key.as_ref().unwrap().cert, first.cert);
}
