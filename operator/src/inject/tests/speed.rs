//! Cost: bounded for any pod, and small for usual ones.

use std::time::Instant;

use super::*;

fn many(containers: usize, variables: usize) -> Value {
    let env: Vec<Value> = (0..variables).map(|index| json!({"name": format!("V{index}"), "value": "https://x.example/"})).collect();
    let containers: Vec<Value> = (0..containers).map(|index| json!({"name": format!("c{index}"), "env": env})).collect();
    pod(json!({"spec": {"containers": containers}}))
}

#[test]
fn fifty_containers_are_all_seen() {
    let injection = injected(&many(50, 20), &all_layers());
    for index in 0..50 {
        assert_eq!(variables(&injection.pod, &format!("c{index}"))["SSL_CERT_FILE"]["value"], "/var/run/agentrun/trust/bundle.pem");
    }
}

/// `cargo test -p agentrun-operator --release -- --ignored --nocapture milliseconds`
#[test]
#[ignore = "prints a time, asserts nothing"]
fn milliseconds_a_pod() {
    for (containers, variables) in [(1, 10), (5, 20), (50, 20), (256, 100)] {
        let (pod, config) = (many(containers, variables), all_layers());
        let (start, rounds) = (Instant::now(), 20);
        for _ in 0..rounds {
            injected(&pod, &config);
        }
        let each = start.elapsed().as_secs_f64() * 1000.0 / f64::from(rounds);
        println!("{containers} containers with {variables} variables: {each:.3} ms a pod");
    }
}
