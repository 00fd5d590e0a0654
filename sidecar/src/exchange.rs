//! A call, one way through the proxy. Read [`exchange`] from top to bottom: that is the path.

use std::{convert::Infallible, sync::Arc};

use agentrun_llm::{
    call::CacheLayer,
    credential::credential,
    provider::{Endpoint, Hosts, Provider},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header, request::Parts, uri::Scheme};
use hyper::body::Incoming;

use crate::{
    body::{AnswerBody, RequestBody},
    cache::{
        Cache, Key, Layer,
        flight::{self, Landing, Leader, Role},
        remote::Claimed,
    },
    config::CacheMode,
    error::Refusal,
    exchange::gather::Gathered,
    fingerprint::Fingerprint,
    front::Connection,
    hit, miss, pass,
    record::Call,
    route::Router,
    target::Target,
};

mod adopt;
mod gather;
mod reading;

use adopt::adopted;
pub(crate) use reading::{Changed, Parsed, Reading, Within};

/// Answers one request of a connection. Refusals become answers; only the connection itself can fail.
pub(crate) async fn exchange(connection: Arc<Connection>, request: Request<Incoming>) -> Result<Response<AnswerBody>, Infallible> {
    let proxy = connection.proxy.clone();
    let target = match Target::of(&connection, &request) {
        Ok(target) => target,
        Err(refusal) => return Ok(pass::refuse(&connection, &request, &refusal)),
    };
    let hosts = proxy.hosts();
    let Some(provider) = provider_of(&hosts, &target, request.method()) else { return Ok(pass::forward(&proxy, target, request).await) };
    let mut call = Call::begin(&connection, provider, request.method(), &target);
    let answered = answer(&mut call, &connection, provider, target, request).await;
    Ok(match answered {
        Ok(response) => response,
        Err(refusal) => {
            let response = refusal.response(provider.shape);
            call.refused(&refusal);
            response
        }
    })
}

/// Who answers a call, if it is one that is read.
fn provider_of<'a>(hosts: &'a Hosts, target: &Target, method: &Method) -> Option<&'a Provider> {
    let by_path = || hosts.find_plain(target.path.as_str()).filter(|_| target.scheme == Scheme::HTTP && method == Method::POST);
    hosts.find(&target.host).or_else(by_path)
}

async fn answer(
    call: &mut Call,
    connection: &Connection,
    provider: &Provider,
    target: Target,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Refusal> {
    let proxy = &connection.proxy;
    call.admit()?;
    proxy.room_for_records().await?;
    if pass::is_upgrade(&request) {
        return pass::upgrade(call, provider, target, request).await;
    }
    let (parts, body) = request.into_parts();
    let (gathered, held) = gather::gather(body, &proxy.limits, &proxy.bodies).await?;
    if held.waited() {
        // Others have ended meanwhile.
        proxy.room_for_records().await?;
    }
    call.hold(held);
    let body = match gathered {
        Gathered::Whole(body) => body,
        Gathered::Large(first, rest) => {
            let body = RequestBody::streamed(first, rest);
            return unread(call, connection, provider, target, parts, body).await;
        }
    };
    call.request_bytes(body.len());
    let Routed { parsed, model } = route(connection, provider, &target, &parts, &body).await?;
    let within = within(connection, &target, &parts);
    let fingerprint = fingerprint(connection, &target, &parts, &body, model.as_deref(), within);
    if let Some(hit) = seen(call, connection, fingerprint, &body) {
        return Ok(hit);
    }
    let parsed = parsed.unwrap_or_else(|| Parsed::of(provider, parts.method.as_str(), &target, &body));
    let (reading, changed) = Reading::of(provider, parts.method.as_str(), &target, parsed, model.as_deref(), &connection.live, within)?;
    let reading = Arc::new(reading);
    call.read(reading.clone());
    if reading.is_json {
        call.text(fingerprint, changed.body.clone().unwrap_or_else(|| body.clone()));
    }
    // What is sent otherwise than it came is read each time: its record shows what was sent.
    if changed.body.is_none() {
        proxy.cache.remember(fingerprint, reading.clone());
    }
    let leader = match reading.key.filter(|_| connection.live.session.cache != CacheMode::Off) {
        None => None,
        Some(key) => match cached_or_lead(call, connection, &reading, key).await? {
            Found::Answer(response) => return Ok(response),
            Found::Lead(leader) => leader,
        },
    };
    let sent = changed.body.clone().unwrap_or(body);
    miss::ask(call.take(), leader, target, parts, changed, RequestBody::whole(sent)).await
}

/// Passes on a request whose body is too large to be read.
async fn unread(
    call: &mut Call,
    connection: &Connection,
    provider: &Provider,
    target: Target,
    parts: Parts,
    body: RequestBody,
) -> Result<Response<AnswerBody>, Refusal> {
    let endpoint = Endpoint::of(provider, parts.method.as_str(), target.path.as_str());
    let session = &connection.live.session;
    if !session.replaces.is_empty() || (session.router.is_some() && Router::concerns(endpoint.operation)) {
        // Its model cannot be seen, and the wrong one may not be paid for.
        return Err(Refusal::BodyTooLarge { limit: connection.proxy.limits.entry_bytes as u64 });
    }
    call.read(Arc::new(Reading::unread(endpoint, target.path.as_str())));
    miss::ask(call.take(), None, target, parts, Changed::default(), body).await
}

/// What the session's router says.
#[derive(Default)]
struct Routed {
    /// The request, where it had to be read for that.
    parsed: Option<Parsed>,
    /// The model that was chosen.
    model: Option<String>,
}

/// Asks the session's router, if there is one, what model the request is sent to.
async fn route(connection: &Connection, provider: &Provider, target: &Target, parts: &Parts, body: &[u8]) -> Result<Routed, Refusal> {
    let Some(router) = &connection.live.session.router else { return Ok(Routed::default()) };
    let parsed = Parsed::of(provider, parts.method.as_str(), target, body);
    let model = parsed.route(router, provider, &connection.live).await?;
    Ok(Routed { parsed: Some(parsed), model })
}

/// Within what the call is equal to others.
fn within(connection: &Connection, target: &Target, parts: &Parts) -> Within {
    let headers = || parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let credential = connection.live.session.by_credential.then(|| credential(headers(), target.path.as_str()));
    Within { agentopt: connection.proxy.cache.agentopt(), credential }
}

/// A hit for a request whose bytes have been seen before: nothing of it is read again.
fn seen(call: &mut Call, connection: &Connection, fingerprint: Fingerprint, body: &Bytes) -> Option<Response<AnswerBody>> {
    if !connection.live.session.cache.reads() {
        return None;
    }
    let cache = &connection.proxy.cache;
    let reading = cache.seen(&fingerprint)?;
    let (entry, layer) = cache.get(&reading.key?)?;
    let response = hit::response(&entry, &reading)?;
    call.read(reading);
    call.text(fingerprint, body.clone());
    call.take().hit(&entry, layer_of(layer));
    Some(response)
}

enum Found {
    Answer(Response<AnswerBody>),
    Lead(Option<Leader>),
}

/// Looks into the cache, joins an equal call in flight, or leads.
async fn cached_or_lead(call: &mut Call, connection: &Connection, reading: &Arc<Reading>, key: Key) -> Result<Found, Refusal> {
    let cache = &connection.proxy.cache;
    let mode = connection.live.session.cache;
    loop {
        if mode.reads()
            && let Some((entry, layer)) = cache.get(&key)
            && let Some(response) = hit::response(&entry, reading)
        {
            call.take().hit(&entry, layer_of(layer));
            return Ok(Found::Answer(response));
        }
        if mode == CacheMode::ReplayOnly {
            return Box::pin(replayed(call, cache, reading, key)).await;
        }
        let waiting = match cache.flights.join(key) {
            // Boxed: a hit's future is not to be as large as a miss's.
            Role::Leader(leader) => return Ok(Box::pin(lead(call, connection, reading, key, leader)).await),
            Role::Follower(waiting) => waiting,
        };
        match flight::landed(waiting).await {
            Landing::Answered(entry) => {
                if let Some(response) = hit::response(&entry, reading) {
                    call.take().hit(&entry, CacheLayer::Flight);
                    return Ok(Found::Answer(response));
                }
                return Ok(Found::Lead(None));
            }
            Landing::Alone => return Ok(Found::Lead(None)),
            Landing::Lost => {}
        }
    }
}

/// The stored answer of the layers below, or none.
async fn replayed(call: &mut Call, cache: &Cache, reading: &Arc<Reading>, key: Key) -> Result<Found, Refusal> {
    let (entry, layer) = match (adopted(call, cache, reading).await, cache.remote()) {
        (Some(entry), _) => (entry, CacheLayer::Disk),
        (None, Some(remote)) => (remote.get(&key).await.ok_or(Refusal::ReplayMiss)?, CacheLayer::Hub),
        (None, None) => return Err(Refusal::ReplayMiss),
    };
    let response = hit::response(&entry, reading).ok_or(Refusal::ReplayMiss)?;
    cache.keep(key, entry.clone(), call.epoch());
    call.take().hit(&entry, layer);
    Ok(Found::Answer(response))
}

/// The call that leads in this process gets what AgentOpt has stored; else it leads among all pods too, or gets what another pod's got.
async fn lead(call: &mut Call, connection: &Connection, reading: &Arc<Reading>, key: Key, leader: Leader) -> Found {
    let cache = &connection.proxy.cache;
    // Who asks upstream in any case need not know what is stored.
    if !connection.live.session.cache.reads() {
        return Found::Lead(Some(leader));
    }
    if let Some(entry) = adopted(call, cache, reading).await
        && let Some(response) = hit::response(&entry, reading)
    {
        cache.keep(key, entry.clone(), call.epoch());
        leader.land(Landing::Answered(entry.clone()));
        call.take().hit(&entry, CacheLayer::Disk);
        return Found::Answer(response);
    }
    let Some(remote) = cache.remote() else { return Found::Lead(Some(leader)) };
    let (entry, layer) = match remote.claim(key).await {
        Claimed::Lead(lease) => return Found::Lead(Some(leader.of_all_pods(lease))),
        Claimed::Alone => return Found::Lead(Some(leader)),
        Claimed::Stored(entry) => {
            cache.keep(key, entry.clone(), call.epoch());
            (entry, CacheLayer::Hub)
        }
        Claimed::Landed(entry) => (entry, CacheLayer::Flight),
    };
    // In another shape than asked for it is as good as none; what comes is stored over it.
    let Some(response) = hit::response(&entry, reading) else { return Found::Lead(Some(leader)) };
    leader.land(Landing::Answered(entry.clone()));
    call.take().hit(&entry, layer);
    Found::Answer(response)
}

fn layer_of(layer: Layer) -> CacheLayer {
    match layer {
        Layer::Memory => CacheLayer::Memory,
        Layer::Disk => CacheLayer::Disk,
    }
}

/// Names a request's bytes within what its session makes of them.
fn fingerprint(connection: &Connection, target: &Target, parts: &Parts, body: &[u8], routed: Option<&str>, within: Within) -> Fingerprint {
    let live = &connection.live;
    let port = target.port.unwrap_or_default().to_be_bytes();
    connection.proxy.fingerprints.of(&[
        live.reading_scope.as_bytes(),
        &live.session.sample.to_be_bytes(),
        target.scheme.as_str().as_bytes(),
        target.host.as_bytes(),
        &port,
        parts.method.as_str().as_bytes(),
        target.path.as_str().as_bytes(),
        routed.unwrap_or_default().as_bytes(),
        within.credential.as_ref().map_or(&[], |credential| &credential[..]),
        body,
    ])
}

/// The headers of a request that go upstream: those that speak of the client's own connection stay behind.
pub(crate) fn forwarded_headers(headers: &mut HeaderMap) {
    strip_connection_headers(headers);
    headers.remove(header::PROXY_AUTHORIZATION);
    headers.remove(header::EXPECT);
    join_cookies(headers);
}

/// HTTP/2 clients may send several `cookie` headers; HTTP/1.1 knows one (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, joined);
    }
}

/// Drops the headers that belong to one connection (RFC 9110, section 7.6.1), and those that `Connection` names.
pub(crate) fn strip_connection_headers(headers: &mut HeaderMap) {
    if let Some(named) = headers.remove(header::CONNECTION) {
        for name in named.to_str().unwrap_or_default().split(',') {
            if let Ok(name) = header::HeaderName::try_from(name.trim()) {
                headers.remove(name);
            }
        }
    }
    for name in ["keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"] {
        headers.remove(name);
    }
}

/// A request for upstream, with the session's attribution in its extensions.
pub(crate) fn outgoing(
    call: &Call,
    target: &Target,
    mut parts: Parts,
    path: &str,
    body: RequestBody,
) -> Result<Request<RequestBody>, Refusal> {
    forwarded_headers(&mut parts.headers);
    let mut request = Request::new(body);
    *request.method_mut() = parts.method;
    *request.uri_mut() = target.uri(path).map_err(|error| Refusal::BodyRead(error.to_string()))?;
    // hyper writes Host from the URL; a name from the client would outlive a redirection.
    parts.headers.remove(header::HOST);
    *request.headers_mut() = parts.headers;
    request.extensions_mut().insert(call.attribution());
    Ok(request)
}

/// Marks how an answer came to be, for those who look at headers.
pub(crate) fn mark(headers: &mut HeaderMap, how: &'static str) {
    headers.insert("x-agentrun-cache", HeaderValue::from_static(how));
}
