//! Clients that give a silent server up.

use std::time::Duration;

use kube::{Client, Config};

/// A client whose requests fail where the server is silent for so long.
///
/// # Errors
/// The configuration is of no use.
pub fn answered_within(time: Duration, mut config: Config) -> Result<Client, kube::Error> {
    config.read_timeout = Some(time);
    // Not from when the connection went idle.
    config.reset_reader_on_write = true;
    config.write_timeout = Some(time);
    Client::try_from(config)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Namespace;

    use super::*;

    #[tokio::test]
    async fn a_request_that_is_never_answered_fails() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap();
        let config = Config::new(format!("http://{address}").parse().unwrap());
        let client = answered_within(Duration::from_millis(50), config).unwrap();
        let asked = kube::Api::<Namespace>::all(client);
        tokio::time::timeout(Duration::from_secs(60), asked.get("default")).await.expect("it gives up").unwrap_err();
    }
}
