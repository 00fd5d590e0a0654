//! What is to be done about certificates, given what the cluster holds. Pure but for fresh keys; every replica plans alike, the leader does.
//!
//! The order keeps every request answerable: the API server trusts a new authority before any server shows a certificate of it.

use jiff::Timestamp;
use rustls::crypto::CryptoProvider;

use super::authority::{Authority, AuthorityError, Data};
use super::leaf::{Leaf, is_past_half};
use super::{Mode, Settings, pem};

/// What the cluster holds. `None` where there is no such object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The authority's Secret.
    pub(crate) authority: Option<Data>,
    /// Somebody asks for a new authority.
    pub(crate) asked: bool,
    /// The webhook's Secret.
    pub(crate) webhook: Option<Data>,
    /// The hub's Secret.
    pub(crate) hub: Option<Data>,
    /// The `caBundle` of each webhook that is ours.
    pub(crate) bundles: Vec<Vec<u8>>,
}

/// A server that has a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Server {
    /// The webhook.
    Webhook,
    /// The hub.
    Hub,
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Make the authority's Secret; another replica may be first.
    CreateAuthority(Data),
    /// Put another authority into its Secret.
    ReplaceAuthority(Data),
    /// Make a server's Secret; another replica may be first.
    CreateLeaf(Server, Data),
    /// Put another certificate into a server's Secret.
    ReplaceLeaf(Server, Data),
    /// Write this `caBundle` into every webhook that is ours.
    Trust(Vec<u8>),
}

/// What is to be done next; the rest follows when that is seen. `settled`: the API server has had time to take the bundles in.
pub(crate) fn plan(
    seen: &Seen,
    settings: &Settings,
    now: Timestamp,
    settled: bool,
    provider: &CryptoProvider,
) -> Result<Vec<Action>, AuthorityError> {
    let mut actions = Vec::new();
    let authority = match settings.mode {
        Mode::Secret => None,
        Mode::Auto => match authority(seen, settings, now)? {
            Ok(authority) => Some(authority),
            Err(action) => return Ok(vec![action]),
        },
    };
    let webhook = seen.webhook.as_ref().and_then(|data| Leaf::read(data, provider).ok());
    let trusted = trusted(authority.as_ref(), webhook.as_ref(), seen, now);
    let known = trusted.first().is_some_and(|first| {
        seen.bundles.iter().all(|bundle| pem::certificates(bundle).is_ok_and(|certificates| certificates.contains(first)))
    });
    if !trusted.is_empty() && !seen.bundles.is_empty() {
        let bundle = pem::text(&trusted).into_bytes();
        if seen.bundles.iter().any(|other| *other != bundle) {
            actions.push(Action::Trust(bundle));
        }
    }
    if let Some(authority) = authority {
        for (server, data) in [(Server::Webhook, &seen.webhook), (Server::Hub, &seen.hub)] {
            let names = settings.names(server);
            match data {
                None => actions.push(Action::CreateLeaf(server, authority.leaf(names, now, settings.leaf_seconds)?)),
                Some(data)
                    if is_due(data, &authority, names, now, provider)
                        && (settled && known || !is_served(data, seen, names, now, provider)) =>
                {
                    actions.push(Action::ReplaceLeaf(server, authority.leaf(names, now, settings.leaf_seconds)?));
                }
                Some(_) => {}
            }
        }
    }
    Ok(actions)
}

/// The authority, or the write that makes one.
fn authority(seen: &Seen, settings: &Settings, now: Timestamp) -> Result<Result<Authority, Action>, AuthorityError> {
    let Some(data) = &seen.authority else {
        return Ok(Err(Action::CreateAuthority(Authority::new(now, settings.authority_seconds)?.data())));
    };
    let Ok(authority) = Authority::read(data) else {
        tracing::warn!(secret = settings.authority_secret, "the authority's Secret cannot be read: a new authority is made");
        return Ok(Err(Action::ReplaceAuthority(Authority::new(now, settings.authority_seconds)?.data())));
    };
    let is_old = pem::validity(&authority.certificate).is_none_or(|validity| is_past_half(validity, now));
    if is_old || seen.asked {
        return Ok(Err(Action::ReplaceAuthority(authority.successor(now, settings.authority_seconds)?.data())));
    }
    Ok(Ok(authority))
}

/// How many certificates of the past stay in a bundle that does not come from our own authority.
const EARLIER: usize = 3;

/// What the API server is to trust, the current authority first.
fn trusted(authority: Option<&Authority>, webhook: Option<&Leaf>, seen: &Seen, now: Timestamp) -> Vec<Vec<u8>> {
    let mut trusted: Vec<Vec<u8>> = match authority {
        Some(authority) => authority.trusted().cloned().collect(),
        None => webhook.map(|leaf| leaf.trusted.clone()).unwrap_or_default(),
    };
    if trusted.is_empty() {
        return trusted;
    }
    // What was trusted before stays for those replicas that still serve it, and goes when it ends.
    let alive = |certificate: &Vec<u8>| pem::validity(certificate).is_some_and(|validity| validity.1 > now.as_second());
    let before = seen.bundles.iter().filter_map(|bundle| pem::certificates(bundle).ok()).flatten().filter(alive);
    let mut earlier: Vec<Vec<u8>> = Vec::new();
    for certificate in before {
        if !trusted.contains(&certificate) && !earlier.contains(&certificate) && earlier.len() < EARLIER {
            earlier.push(certificate);
        }
    }
    trusted.extend(earlier);
    trusted
}

/// Whether a server's certificate is to be replaced: half its life has passed, or it is not what the authority would make.
fn is_due(data: &Data, authority: &Authority, names: &[String], now: Timestamp, provider: &CryptoProvider) -> bool {
    let Ok(leaf) = Leaf::read(data, provider) else { return true };
    let trusts_all = authority.trusted().all(|certificate| leaf.trusted.contains(certificate));
    leaf.is_past_half(now) || !trusts_all || !leaf.is_accepted(std::slice::from_ref(&authority.certificate), names, now, provider)
}

/// Whether a server's certificate still does its work, so that there is time to replace it in order.
fn is_served(data: &Data, seen: &Seen, names: &[String], now: Timestamp, provider: &CryptoProvider) -> bool {
    let Ok(leaf) = Leaf::read(data, provider) else { return false };
    let before: Vec<Vec<u8>> = seen.bundles.iter().filter_map(|bundle| pem::certificates(bundle).ok()).flatten().collect();
    leaf.is_accepted(&before, names, now, provider)
}

/// Whether a replica may change what is there. The leader may, and one that the API server would not accept: while an upgrade changes who makes
/// certificates, the leader is of the old kind until the new ones are ready, and knows nothing of what these serve.
pub(crate) fn may_replace(leads: bool, seen: &Seen, settings: &Settings, now: Timestamp, provider: &CryptoProvider) -> bool {
    leads || !is_agreed(seen, settings, now, provider)
}

/// Whether the API server accepts the webhook's certificate through every webhook that is ours.
pub(crate) fn is_agreed(seen: &Seen, settings: &Settings, now: Timestamp, provider: &CryptoProvider) -> bool {
    let Some(leaf) = seen.webhook.as_ref().and_then(|data| Leaf::read(data, provider).ok()) else { return false };
    !seen.bundles.is_empty()
        && seen.bundles.iter().all(|bundle| {
            let roots = pem::certificates(bundle).unwrap_or_default();
            // A certificate from elsewhere need only have the one name that the API server asks for.
            leaf.is_accepted(&roots, &settings.webhook_names[..1], now, provider)
        })
}
