//! A scoring pod's sidecar: it brings outputs from the hub to the user's program, and the program's answers back.

use std::{
    fs::{self, Permissions},
    io,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agentrun_protocol::names;
use axum::{Router, http::StatusCode, routing::get};
use thiserror::Error;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{mpsc, watch},
};

use crate::{
    ListenError,
    hub::{Hub, HubError},
    listen,
    pod::{PodError, Stop, copy_wrapper},
    score::{
        answers::{AnswerError, answers},
        questions::questions,
    },
    sentence,
};

mod answers;
mod questions;

/// Questions that the program has and has not answered yet: many, as one that reads them all first, or keeps its answers in a buffer, is right too.
const AHEAD: usize = 1 << 20;

/// Brings outputs to the user's scoring program and its answers to the hub.
#[derive(Clone, Debug, clap::Args)]
pub struct ScoreArgs {
    /// Where the hub is
    #[arg(long, value_name = "URL", env = names::HUB_URL_ENV)]
    pub hub: String,
    /// Certificates (PEM) that the hub's must chain to
    #[arg(long, value_name = "PEM", env = names::HUB_CA_ENV, hide_env_values = true)]
    pub hub_ca: String,
    /// The pod's token for the hub
    #[arg(long, value_name = "FILE", default_value_os_t = PathBuf::from(names::TOKEN_DIR).join(names::TOKEN_FILE))]
    pub token: PathBuf,
    /// Serve /startupz here
    #[arg(long, value_name = "IP:PORT", default_value = "[::]:15021")]
    pub admin: SocketAddr,
    /// The volume that is shared with the program
    #[arg(long, value_name = "DIR", default_value = names::EXCHANGE_DIR)]
    pub exchange_dir: PathBuf,
    /// The volume that the wrapper is put into
    #[arg(long, value_name = "DIR", default_value = names::TRUST_DIR)]
    pub trust_dir: PathBuf,
    /// How long the program may take for its next answer, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    pub answer_timeout: u64,
}

/// Why scoring ended early.
#[derive(Debug, Error)]
pub enum ScoreError {
    /// The pod cannot be prepared.
    #[error(transparent)]
    Pod(#[from] PodError),
    /// The hub cannot be asked at all.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A port cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The socket cannot be made or used.
    #[error("use the socket {path}")]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Questions cannot be brought.
    #[error("bring outputs to the scoring program")]
    Questions(#[source] HubError),
    /// Answers are of no use.
    #[error(transparent)]
    Answers(#[from] AnswerError),
}

/// What became of the scores, as the program's wrapper is told.
#[derive(Clone, Debug)]
enum Progress {
    /// No program has come yet.
    NoProgram,
    /// One is asked, or its answers are on their way.
    Asking,
    /// The hub has every score.
    Scored,
    /// An answer was of no use.
    Refused(String),
    /// The program ended before it had answered everything.
    Unanswered(String),
    /// The program answers no more, and is to be ended.
    GivenUp(String),
}

impl Progress {
    fn after(scored: &Result<u64, ScoreError>) -> Self {
        match scored {
            Ok(_) => Self::Scored,
            Err(error @ ScoreError::Answers(AnswerError::TooFew(_) | AnswerError::Early)) => Self::Unanswered(sentence(error)),
            Err(error @ ScoreError::Answers(AnswerError::Silent(_))) => Self::GivenUp(sentence(error)),
            Err(error) => Self::Refused(sentence(error)),
        }
    }

    fn answer(&self) -> (StatusCode, String) {
        match self {
            Self::NoProgram => (StatusCode::NOT_FOUND, "no program has come\n".to_owned()),
            Self::Asking => (StatusCode::ACCEPTED, "answers are on their way\n".to_owned()),
            Self::Scored => (StatusCode::OK, "scored\n".to_owned()),
            Self::Refused(problem) => (StatusCode::UNPROCESSABLE_ENTITY, problem.clone()),
            Self::Unanswered(problem) => (StatusCode::CONFLICT, problem.clone()),
            Self::GivenUp(problem) => (StatusCode::REQUEST_TIMEOUT, problem.clone()),
        }
    }
}

/// Scores every output that waits, tells the program's wrapper how that went, and waits for the pod's end.
///
/// # Errors
/// The hub refuses, or the program prints what is no answer.
pub async fn run(args: &ScoreArgs) -> Result<(), ScoreError> {
    let mut stop = Stop::new().map_err(PodError::Signals)?;
    let hub = Arc::new(Hub::new(&args.hub, &args.hub_ca, args.token.clone())?);
    let path = args.exchange_dir.join(names::SCORE_SOCKET);
    let failed = |source| ScoreError::Socket { path: path.clone(), source };
    let listener = socket(&path).map_err(failed)?;
    copy_wrapper(&args.trust_dir)?;
    let (progress, told) = watch::channel(Progress::NoProgram);
    open_admin(args.admin, told).await?;
    tracing::info!(socket = %path.display(), "waiting for the scoring program");
    let program = tokio::select! {
        accepted = listener.accept() => accepted.map_err(failed)?.0,
        () = stop.told() => return Ok(()),
    };
    progress.send_replace(Progress::Asking);
    let scored = score(&hub, program, Duration::from_secs(args.answer_timeout)).await;
    match &scored {
        Ok(scored) => tracing::info!(scored, "the hub has every score"),
        Err(error) => tracing::error!(error = sentence(error), "outputs are left without a score"),
    }
    progress.send_replace(Progress::after(&scored));
    // A pod whose program has ended well is a success, whatever its sidecar did: the wrapper asks for the outcome first, and fails with it.
    stop.told().await;
    scored.map(drop)
}

/// Asks the program for the score of every output that waits. Returns how many there were.
async fn score(hub: &Arc<Hub>, program: UnixStream, patience: Duration) -> Result<u64, ScoreError> {
    let (from, to) = program.into_split();
    let (ask, asked) = mpsc::channel(AHEAD);
    let asking = tokio::spawn(questions(hub.clone(), to, ask));
    let answered = answers(hub, from, asked, patience).await;
    if answered.is_err() {
        // Nobody is to be asked any more.
        asking.abort();
    }
    match (answered, asking.await) {
        (_, Ok(Err(error))) => Err(ScoreError::Questions(error)),
        (Err(error), _) => Err(error.into()),
        (Ok(count), Ok(Ok(true))) => Ok(count),
        (Ok(_), _) => Err(AnswerError::Early.into()),
    }
}

/// A socket that any user's program may connect to.
fn socket(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// Answers the startup probe and the program's wrapper: there is nothing else to ask of this pod.
async fn open_admin(address: SocketAddr, progress: watch::Receiver<Progress>) -> Result<(), ListenError> {
    let (listener, address) = match listen(address).await {
        Err(_) if address.is_ipv6() && address.ip().is_unspecified() => {
            listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()))).await?
        }
        opened => opened?,
    };
    let scored = move || std::future::ready(progress.borrow().answer());
    let routes = Router::new()
        .route(names::STARTUP_PATH, get(async || "started\n"))
        .route("/healthz", get(async || "ok\n"))
        .route(names::SCORED_PATH, get(scored));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(%address, %error, "the admin port ended");
        }
    });
    Ok(())
}
