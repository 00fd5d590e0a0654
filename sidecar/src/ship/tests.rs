//! Shipping to something that takes records by the hub's rules.

use std::convert::Infallible;

use agentrun_protocol::trial::FIRST_SEQUENCE_HEADER;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    config::Limits,
    journal::{Journal, samples},
};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The number of the last record that it has; it refuses (409) batches that leave records out.
type Stored = Arc<Mutex<u64>>;

async fn answer(stored: Stored, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let first: u64 = request.headers()[FIRST_SEQUENCE_HEADER].to_str().unwrap().parse().unwrap();
    let lines = request.into_body().collect().await.unwrap().to_bytes();
    let records = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
    let mut stored = stored.lock().unwrap();
    if first > *stored + 1 {
        let answer = Response::builder().status(409).body(Full::from(r#"{"error": "the batch leaves records out"}"#));
        return Ok(answer.unwrap());
    }
    *stored = (*stored).max(first + records - 1);
    Ok(Response::new(Full::from(format!(r#"{{"sequence": {stored}}}"#))))
}

/// Such a hub, with what its client needs in a folder that is kept.
async fn hub(stored: Stored) -> (Arc<Hub>, TempDir) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let config =
        ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, stored) = (acceptor.clone(), stored.clone());
            tokio::spawn(async move {
                let stream = TokioIo::new(acceptor.accept(stream).await.unwrap());
                http1::Builder::new().serve_connection(stream, service_fn(move |request| answer(stored.clone(), request))).await
            });
        }
    });
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "token").unwrap();
    let hub = Hub::new(&url, &certificate.pem(), folder.path().join("token")).unwrap();
    (Arc::new(hub), folder)
}

/// Ships all that is in the journal, as a sidecar does that is started again: the number of the last record for the hub.
async fn all(hub: &Arc<Hub>, journal: &Path) -> u64 {
    let limits = Limits { spool_bytes: Some(1 << 20), ..Limits::default() };
    let open = Journal::open(journal, &limits, None, None, false).unwrap();
    let shipping = Shipping::start(hub.clone(), journal, open.spool().unwrap().clone(), || {});
    tokio::time::timeout(PATIENCE, shipping.all()).await.expect("records are shipped")
}

#[tokio::test]
async fn what_the_hub_lost_is_shipped_again() {
    let stored = Stored::default();
    let (hub, folder) = hub(stored.clone()).await;
    let journal = folder.path().join("calls.db");
    let connection = samples::journal(&journal, 5, 10);
    assert_eq!((all(&hub, &journal).await, *stored.lock().unwrap()), (5, 5));
    *stored.lock().unwrap() = 2;
    samples::more(&connection, 1, 10);
    assert_eq!((all(&hub, &journal).await, *stored.lock().unwrap()), (6, 6));
}

#[tokio::test]
async fn what_is_lost_on_both_sides_holds_up_nothing_and_is_told() {
    let stored = Stored::default();
    let (hub, folder) = hub(stored.clone()).await;
    let journal = folder.path().join("calls.db");
    let connection = samples::journal(&journal, 5, 10);
    all(&hub, &journal).await;
    connection.execute("DELETE FROM calls WHERE sequence < 4", []).unwrap();
    *stored.lock().unwrap() = 1;
    samples::more(&connection, 1, 10);
    // Of six records the second and the third are nowhere.
    assert_eq!((all(&hub, &journal).await, *stored.lock().unwrap()), (5, 4));
    samples::more(&connection, 1, 10);
    assert_eq!((all(&hub, &journal).await, *stored.lock().unwrap()), (6, 5));
    *stored.lock().unwrap() = 3;
    samples::more(&connection, 1, 10);
    assert_eq!((all(&hub, &journal).await, *stored.lock().unwrap()), (7, 6));
}

#[test]
fn a_batch_that_is_refused_shrinks_to_one_record_without_bodies() {
    let refused = |status: u16| ShipError::Hub(HubError::Refused { status: status.try_into().unwrap(), problem: String::new() });
    let mut limit = BATCH;
    let mut seen = Vec::new();
    for _ in 0..5 {
        limit = smaller(limit, &refused(413));
        seen.push((limit.records, limit.without_bodies));
    }
    assert_eq!(seen, [(64, false), (8, false), (1, false), (1, true), (1, true)]);
    let same = smaller(BATCH, &refused(503));
    assert_eq!((same.records, same.without_bodies), (BATCH.records, false));
}
