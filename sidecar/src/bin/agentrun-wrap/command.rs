//! The command: started, told of signals, waited for.

use std::{
    env,
    fs::File,
    io,
    net::SocketAddr,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, SigmaskHow, Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::{Failure, args::Args, copy, copy::Copy, sidecar, trial};

/// Those that a container or a terminal sends on purpose. The others are about this process, or cannot be taken.
const PASSED_ON: [Signal; 9] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCONT,
    Signal::SIGWINCH,
    Signal::SIGALRM,
];
/// Between the request to end and the end.
const GRACE: Duration = Duration::from_secs(5);
/// Between two looks whether a scoring command is still waited for.
const LOOK: Duration = Duration::from_secs(1);
/// For the sidecar of a scoring pod to listen.
const FOR_SOCKET: Duration = Duration::from_secs(30);

/// How the command ended.
pub(crate) struct Ended {
    /// As a shell would say it.
    pub(crate) code: u8,
    pub(crate) timed_out: bool,
}

/// Runs the command to its end.
pub(crate) fn run(args: &Args) -> Result<Ended, Failure> {
    let mut command = command(args)?;
    let signals = signals();
    // From here on signals wait until they are looked for, on every thread.
    let before = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(|error| Failure::ours("block signals", &error.into()))?;
    let output =
        args.stdout.as_deref().map(|path| copy::create(path).map_err(|error| Failure::ours(&format!("write {}", path.display()), &error)));
    let output = output.transpose()?;
    if output.is_some() {
        command.stdout(Stdio::piped());
    }
    let mut child = spawn(command, before).map_err(|error| not_run(args, &error))?;
    let copying = child.stdout.take().zip(output).map(|(from, output)| Copy::start(from, output));
    let running = Running::of(&child);
    if let Some(timeout) = args.timeout {
        running.end_after(timeout);
    }
    if args.score.is_some() {
        running.end_given_up(args.sidecar);
    }
    let code = running.wait(&signals);
    if let Some(copying) = copying {
        copying.finish();
    }
    if let Some(output) = env::var_os("AGENTRUN_OUTPUT_FILE") {
        trial::open_to_all(Path::new(&output));
    }
    Ok(Ended { code, timed_out: running.timed_out.load(Ordering::Relaxed) })
}

fn command(args: &Args) -> Result<Command, Failure> {
    let (program, arguments) = args.command.split_first().expect("arguments without a command are refused");
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some(path) = &args.stdin {
        let input = File::open(path).map_err(|error| Failure::ours(&format!("read the input {}", path.display()), &error))?;
        command.stdin(input);
    }
    if let Some(path) = &args.score {
        let socket = connect(path).map_err(|error| Failure::ours(&format!("connect to {}", path.display()), &error))?;
        let again = socket.try_clone().map_err(|error| Failure::ours("use the socket twice", &error))?;
        command.stdin(OwnedFd::from(socket)).stdout(OwnedFd::from(again));
        // Python would keep its answers back until they are some kilobytes, and the sidecar waits for none for ever.
        command.env("PYTHONUNBUFFERED", "1");
    } else {
        let variables = trial::variables(&args.trial);
        command.envs(variables.map_err(|error| Failure::ours(&format!("read the trial's variables {}", args.trial.display()), &error))?);
    }
    Ok(command)
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    let began = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Err(error) if began.elapsed() > FOR_SOCKET => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(50)),
            connected => return connected,
        }
    }
}

fn signals() -> SigSet {
    let mut signals = SigSet::from_iter(PASSED_ON);
    signals.add(Signal::SIGCHLD);
    signals
}

/// Starts the command with the signals unblocked that were so `before`: a new process has the mask of the thread that started it.
fn spawn(mut command: Command, before: SigSet) -> io::Result<Child> {
    let starting = thread::spawn(move || {
        before.thread_set_mask()?;
        command.spawn()
    });
    starting.join().unwrap_or_else(|_| Err(io::Error::other("the thread that starts it panicked")))
}

fn not_run(args: &Args, error: &io::Error) -> Failure {
    let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    let program = args.command.first().map(|program| program.display().to_string()).unwrap_or_default();
    Failure { code, text: format!("cannot run {program}: {error}") }
}

/// The command's process.
#[derive(Clone)]
struct Running {
    /// None once it was reaped: its number may be another's then.
    process: Arc<Mutex<Option<Pid>>>,
    timed_out: Arc<AtomicBool>,
}

impl Running {
    fn of(child: &Child) -> Self {
        let process = i32::try_from(child.id()).ok().map(Pid::from_raw);
        Self { process: Arc::new(Mutex::new(process)), timed_out: Arc::default() }
    }

    fn send(&self, signal: Signal) -> bool {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        process.is_some_and(|process| kill(process, signal).is_ok())
    }

    /// Asks the command to end when its time is over, and does not ask twice.
    fn end_after(&self, timeout: Duration) {
        let this = self.clone();
        thread::spawn(move || {
            thread::sleep(timeout);
            if this.send(Signal::SIGTERM) {
                this.timed_out.store(true, Ordering::Relaxed);
                thread::sleep(GRACE);
                this.send(Signal::SIGKILL);
            }
        });
    }

    /// Asks a scoring command to end once the sidecar has given it up: it may never look at its closed socket.
    fn end_given_up(&self, admin: SocketAddr) {
        let this = self.clone();
        thread::spawn(move || {
            while !sidecar::is_given_up(admin) {
                thread::sleep(LOOK);
            }
            this.send(Signal::SIGTERM);
            thread::sleep(GRACE);
            this.send(Signal::SIGKILL);
        });
    }

    /// Passes signals on and reaps, until the command itself has ended.
    fn wait(&self, signals: &SigSet) -> u8 {
        loop {
            if let Some(code) = self.reap() {
                return code;
            }
            match signals.wait() {
                Ok(Signal::SIGCHLD) | Err(_) => {}
                Ok(signal) => drop(self.send(signal)),
            }
        }
    }

    /// Reaps every process that has ended, those that were left to us as the first process of the container too.
    fn reap(&self) -> Option<u8> {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (ended, code) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(ended, code)) => (ended, code),
                Ok(WaitStatus::Signaled(ended, signal, _)) => (ended, 128 + signal as i32),
                Ok(WaitStatus::StillAlive) => return None,
                // Nobody is left, which cannot be before the command was reaped.
                Err(Errno::ECHILD) => return Some(crate::OURS),
                Ok(_) | Err(_) => continue,
            };
            if *process == Some(ended) {
                *process = None;
                return Some(u8::try_from(code).unwrap_or(u8::MAX));
            }
        }
    }
}
