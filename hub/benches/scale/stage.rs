//! What the measurement needs on the cluster: nodes of KWOK's, a namespace, operator and hub as processes in their pods' place.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Secret, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::front::{Front, Person};
use crate::process::Program;
use crate::settings::Settings;
use crate::shape::{DATASET, NAMESPACE, RUN, Shape};
use crate::sidecar::HUB_NAME;

/// The namespace that the chart is installed in.
const SYSTEM: &str = "agentrun-system";
/// How long anything may take to be there, or to be gone.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long the API server may take to delete the pods that ended: some sixty a second here.
const PODS_PATIENCE: Duration = Duration::from_secs(600);
/// The label of what is made here.
const LABEL: &str = "agentrun.dev/bench=scale";

/// The cluster, and the programs that run for it.
pub(crate) struct Stage {
    /// The API server, as its administrator.
    pub(crate) client: Client,
    /// What was asked for.
    pub(crate) settings: Settings,
    /// The operator.
    pub(crate) operator: Option<Program>,
    /// The hub.
    pub(crate) hub: Option<Program>,
    kwok: Option<Program>,
    hub_port: u16,
    metrics_port: u16,
}

impl Stage {
    /// Nothing is made yet.
    pub(crate) fn new(client: Client, settings: Settings) -> Self {
        Self { client, settings, operator: None, hub: None, kwok: None, hub_port: 0, metrics_port: 0 }
    }

    /// Where the hub listens.
    pub(crate) fn hub_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.hub_port).into()
    }

    /// Starts everything but the run.
    ///
    /// # Errors
    /// Something of it does not start.
    pub(crate) async fn start(&mut self, operator: &Front, hub: &Front) -> Result<()> {
        self.no_pods_of_ours().await?;
        self.namespace().await?;
        self.nodes().await?;
        let kwok_log = self.start_kwok()?;
        self.start_hub(hub)?;
        let node = self.node_address().await?;
        self.start_operator(operator, node).await?;
        self.until("the operator", &format!("http://127.0.0.1:{}/readyz", self.metrics_port)).await?;
        self.until_nodes_are_ready().await.with_context(|| format!("kwok's log is {}", kwok_log.display()))
    }

    /// The operator's counters.
    ///
    /// # Errors
    /// It does not tell them.
    pub(crate) async fn operator_metrics(&self) -> Result<String> {
        get(&format!("http://127.0.0.1:{}/metrics", self.metrics_port)).await
    }

    /// The certificates that the hub's chains to.
    ///
    /// # Errors
    /// The Secret is not there.
    pub(crate) async fn hub_ca(&self) -> Result<String> {
        let secret = Api::<Secret>::namespaced(self.client.clone(), SYSTEM).get("agentrun-hub-tls").await?;
        let bytes = secret.data.and_then(|mut data| data.remove("ca.crt")).context("the hub's Secret has no ca.crt")?;
        Ok(String::from_utf8(bytes.0)?)
    }

    /// Applies the AgentRun. Admission may need a moment to be reached by its new address.
    ///
    /// # Errors
    /// The API server does not take it.
    pub(crate) async fn apply_run(&self, shape: Shape) -> Result<()> {
        let data = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": DATASET}, "data": {"data.jsonl": shape.dataset()}});
        Api::namespaced(self.client.clone(), NAMESPACE).create(&PostParams::default(), &parsed::<ConfigMap>(data)?).await?;
        let run: DynamicObject = parsed(shape.manifest())?;
        let begun = Instant::now();
        while let Err(error) = self.runs().create(&PostParams::default(), &run).await {
            if begun.elapsed() > Duration::from_secs(30) {
                return Err(error).context("apply the AgentRun");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    }

    /// The AgentRun.
    ///
    /// # Errors
    /// It is not there.
    pub(crate) async fn run(&self) -> Result<Value> {
        let run = self.runs().get(RUN).await.context("look at the AgentRun")?;
        Ok(serde_json::to_value(run)?)
    }

    fn runs(&self) -> Api<DynamicObject> {
        let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("agentrun.dev", "v1alpha1", "AgentRun"), "agentruns");
        Api::namespaced_with(self.client.clone(), NAMESPACE, &kind)
    }

    /// How many pods of the run are left, once the operator has had time to remove them.
    ///
    /// # Errors
    /// The API server's.
    pub(crate) async fn pods_left(&self) -> Result<usize> {
        let begun = Instant::now();
        loop {
            let left = Api::<Pod>::namespaced(self.client.clone(), NAMESPACE).list_metadata(&ListParams::default()).await?.items.len();
            if left == 0 || begun.elapsed() > PODS_PATIENCE {
                return Ok(left);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Removes everything again, as far as it gets.
    ///
    /// # Errors
    /// The API server's.
    pub(crate) async fn clear(&mut self) -> Result<()> {
        let gone = DeleteParams::background();
        self.runs().delete(RUN, &gone).await.ok();
        let begun = Instant::now();
        while self.operator.is_some() && self.runs().get_opt(RUN).await?.is_some() && begun.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Api::<Namespace>::all(self.client.clone()).delete(NAMESPACE, &gone).await.ok();
        while Api::<Namespace>::all(self.client.clone()).get_opt(NAMESPACE).await?.is_some() && begun.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Api::<EndpointSlice>::namespaced(self.client.clone(), SYSTEM)
            .delete_collection(&gone, &ListParams::default().labels(LABEL))
            .await?;
        for program in [self.operator.take(), self.hub.take(), self.kwok.take()].into_iter().flatten() {
            program.stop().await?;
        }
        Api::<Node>::all(self.client.clone()).delete_collection(&gone, &ListParams::default().labels(LABEL)).await?;
        Ok(())
    }

    /// Two operators or hubs would not be measured, but share the work.
    async fn no_pods_of_ours(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let pods = Api::<Pod>::namespaced(self.client.clone(), SYSTEM).list_metadata(&ListParams::default()).await?;
            let Some(pod) = pods.items.first() else { return Ok(()) };
            if begun.elapsed() > PATIENCE {
                bail!("pod {} runs in {SYSTEM}: operator and hub must be scaled to 0 before", pod.name_any());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn namespace(&self) -> Result<()> {
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}});
        Api::<Namespace>::all(self.client.clone())
            .create(&PostParams::default(), &parsed(namespace)?)
            .await
            .context("make the namespace")?;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), NAMESPACE);
        let begun = Instant::now();
        while accounts.get_opt("default").await?.is_none() {
            if begun.elapsed() > PATIENCE {
                bail!("the namespace gets no service account");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    async fn nodes(&self) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        for number in 0..self.settings.nodes {
            let room = json!({"cpu": "1000", "memory": "1Ti", "ephemeral-storage": "10Ti", "pods": "10000"});
            let (key, value) = LABEL.split_once('=').context("a label has a value")?;
            let node = json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": {
                    "name": format!("kwok-{number}"),
                    "annotations": {"kwok.x-k8s.io/node": "fake"},
                    "labels": {"type": "kwok", "kubernetes.io/os": "linux", key: value},
                },
                "spec": {"taints": [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]},
                "status": {"allocatable": room, "capacity": room},
            });
            nodes.create(&PostParams::default(), &parsed(node)?).await.context("make a node")?;
        }
        Ok(())
    }

    async fn until_nodes_are_ready(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let nodes = Api::<Node>::all(self.client.clone()).list(&ListParams::default().labels(LABEL)).await?;
            let is_ready = |node: &Node| {
                let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
                conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
            };
            if nodes.items.iter().all(is_ready) {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                bail!("kwok's nodes do not become ready");
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// KWOK, with its fast stages; but pods end when their sidecars have told the hub, and not at once.
    fn start_kwok(&mut self) -> Result<PathBuf> {
        let kubeconfig = std::env::var("KUBECONFIG").context("KUBECONFIG names the cluster")?;
        let mut command = Command::new(&self.settings.kwok);
        command.args(["--kubeconfig", &kubeconfig, "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake"]);
        command.args(["--node-lease-duration-seconds=40"]);
        let stages = [
            "node/fast/node-initialize",
            "node/heartbeat-with-lease/node-heartbeat-with-lease",
            "pod/fast/pod-ready",
            "pod/fast/pod-delete",
        ];
        for stage in stages {
            command.arg("--config").arg(self.settings.stages.join(format!("{stage}.yaml")));
        }
        self.kwok = Some(Program::start("kwok", &mut command, &self.settings.folder)?);
        Ok(self.settings.folder.join("kwok.log"))
    }

    fn start_hub(&mut self, front: &Front) -> Result<()> {
        self.hub_port = free_port()?;
        let data = self.settings.folder.join("hub");
        std::fs::create_dir_all(&data)?;
        let mut command = Command::new(self.settings.programs.join("agentrun-hub"));
        command.env("KUBECONFIG", self.kubeconfig(Person::Hub, front)?);
        command.arg(format!("--listen=127.0.0.1:{}", self.hub_port)).arg(format!("--admin-listen=127.0.0.1:{}", free_port()?));
        command.arg("--data").arg(data).arg(format!("--tls-secret={SYSTEM}/agentrun-hub-tls"));
        self.hub = Some(Program::start("hub", &mut command, &self.settings.folder)?);
        Ok(())
    }

    /// The operator serves admission too: the Service that the API server asks leads to it.
    async fn start_operator(&mut self, front: &Front, node: String) -> Result<()> {
        let token = self.settings.folder.join("operator.token");
        std::fs::write(&token, self.operator_token().await?)?;
        let (webhook_port, metrics_port) = (free_port()?, free_port()?);
        self.metrics_port = metrics_port;
        let mut command = Command::new(self.settings.programs.join("agentrun-operator"));
        command.env("KUBECONFIG", self.kubeconfig(Person::Operator, front)?).env("POD_NAME", "scale");
        command.arg(format!("--namespace={SYSTEM}")).arg(format!("--webhook-address={node}:{webhook_port}"));
        command.arg(format!("--metrics-address=127.0.0.1:{metrics_port}"));
        command.arg(format!("--hub-address=https://127.0.0.1:{}", self.hub_port)).arg(format!("--hub-server-name={HUB_NAME}"));
        command.arg("--hub-token-file").arg(token);
        self.operator = Some(Program::start("operator", &mut command, &self.settings.folder)?);
        let (key, value) = LABEL.split_once('=').context("a label has a value")?;
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "agentrun-webhook-scale", "labels": {"kubernetes.io/service-name": "agentrun-webhook", key: value}},
            "endpoints": [{"addresses": [node], "conditions": {"ready": true}}],
            "ports": [{"name": "webhook", "port": webhook_port, "protocol": "TCP"}],
        });
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), SYSTEM);
        slices.create(&PostParams::default(), &parsed(slice)?).await.context("lead the webhook's Service to the operator")?;
        Ok(())
    }

    async fn operator_token(&self) -> Result<String> {
        let spec = TokenRequestSpec {
            audiences: vec![agentrun_protocol::names::AUDIENCE.to_owned()],
            expiration_seconds: Some(7200),
            ..Default::default()
        };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), SYSTEM);
        let answer = accounts.create_token_request(Person::Operator.account(), &PostParams::default(), &request).await?;
        Ok(answer.status.context("the API server gives no token")?.token)
    }

    /// The address of the node that is none of KWOK's.
    async fn node_address(&self) -> Result<String> {
        let nodes = Api::<Node>::all(self.client.clone()).list(&ListParams::default().labels("type!=kwok")).await?;
        let addresses = nodes.items.into_iter().filter_map(|node| node.status?.addresses).flatten();
        addresses
            .into_iter()
            .find(|address| address.type_ == "InternalIP")
            .map(|address| address.address)
            .context("the node has no address")
    }

    /// A kubeconfig that leads through a front, which knows the account.
    fn kubeconfig(&self, person: Person, front: &Front) -> Result<PathBuf> {
        let path = self.settings.folder.join(format!("{}.kubeconfig", person.account()));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "scale",
            "clusters": [{"name": "scale", "cluster": {"server": format!("http://{}", front.address)}}],
            "users": [{"name": "scale", "user": {}}],
            "contexts": [{"name": "scale", "context": {"cluster": "scale", "user": "scale"}}],
        });
        std::fs::write(&path, config.to_string())?;
        Ok(path)
    }

    async fn until(&mut self, what: &str, url: &str) -> Result<()> {
        let begun = Instant::now();
        while get(url).await.is_err() {
            for program in [&mut self.operator, &mut self.hub, &mut self.kwok].into_iter().flatten() {
                program.check()?;
            }
            if begun.elapsed() > PATIENCE {
                bail!("{what} does not become ready: see the logs in {}", self.settings.folder.display());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }
}

fn parsed<T: DeserializeOwned>(object: Value) -> Result<T> {
    Ok(serde_json::from_value(object)?)
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A page over plain HTTP; anything but 200 is an error.
async fn get(url: &str) -> Result<String> {
    let uri: http::Uri = url.parse()?;
    let config = kube::Config::new(uri.clone());
    let path = uri.path_and_query().context("a URL has a path")?.as_str();
    let mut config = config;
    config.cluster_url = format!("http://{}", uri.authority().context("a URL has a host")?).parse()?;
    let client = Client::try_from(config)?;
    Ok(client.request_text(http::Request::get(path).body(Vec::new())?).await?)
}
