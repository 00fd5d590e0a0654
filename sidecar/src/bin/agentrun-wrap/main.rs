//! `agentrun-wrap`: starts an agent's command with its trial's variables and input, takes its output, and ends as the command did.
//!
//! It is copied into images that know nothing of it, so it needs nothing of them: one static program, and no file but those it is told. It may be the
//! first process of its container, and then does what such a one must: it passes signals on and reaps whatever is left to it.
//!
//! Exit codes are those of shells: the command's own, 128 and the signal's number, 127 where there is no such command, 126 where it cannot be run; 124
//! after `--timeout`, 213 where the pod's sidecar died and the trial is to be tried again, and 125 where the wrapper itself fails.

#![forbid(unsafe_code)]

mod args;
mod command;
mod copy;
mod sidecar;
mod trial;

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
    time::Instant,
};

use agentrun_protocol::pod::{SIDECAR_LOST_CODE, TIMEOUT_CODE};

use crate::{args::Args, command::Ended, sidecar::Scores};

/// The wrapper itself failed.
const OURS: u8 = 125;

fn main() -> ExitCode {
    let args = match Args::parse(env::args_os().skip(1)) {
        Ok(args) => args,
        Err(problem) => {
            say(&format!("{problem}\n{}", args::USAGE));
            return ExitCode::from(OURS);
        }
    };
    let began = Instant::now();
    let code = match command::run(&args) {
        Ok(Ended { code, .. }) if args.score.is_some() => scored(code, sidecar::scores(args.sidecar)),
        Ok(Ended { code, timed_out: false }) if sidecar::is_lost(code, &args.trial, args.sidecar) => {
            say(&format!("the command ended with {code}, and the sidecar had died beside it"));
            u8::try_from(SIDECAR_LOST_CODE).unwrap_or(OURS)
        }
        Ok(Ended { code, timed_out: false }) => code,
        Ok(Ended { timed_out: true, .. }) => {
            say("the command took longer than it may, and was ended");
            u8::try_from(TIMEOUT_CODE).unwrap_or(OURS)
        }
        Err(failure) => {
            say(&failure.text);
            failure.code
        }
    };
    if args.score.is_none()
        && let Err(error) = trial::tell_exit(&args.exit, code, began.elapsed())
    {
        say(&format!("cannot write {}: {error}", args.exit.display()));
    }
    ExitCode::from(code)
}

/// How a scoring command's end counts: by what became of its answers. What was said last is what people are shown.
fn scored(code: u8, scores: Scores) -> u8 {
    match scores {
        Scores::Kept => 0,
        Scores::Refused(problem) => {
            say(&problem);
            code.max(1)
        }
        Scores::Unanswered(problem) if code == 0 => {
            say(&problem);
            1
        }
        // Its own last words say why.
        Scores::Unanswered(_) => code,
        Scores::Lost => {
            say("the sidecar died while the command ran: its answers are lost");
            u8::try_from(SIDECAR_LOST_CODE).unwrap_or(OURS)
        }
    }
}

/// Says something to whoever reads the container's log.
fn say(text: &str) {
    // There is nobody to tell that nobody listens.
    writeln!(io::stderr(), "agentrun-wrap: {text}").ok();
}

/// Why the command was not run, and the code to end with.
pub(crate) struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    /// The wrapper's own.
    pub(crate) fn ours(what: &str, error: &io::Error) -> Self {
        Self { code: OURS, text: format!("cannot {what}: {error}") }
    }
}
