//! The only place that prints: data on stdout, talk on stderr.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use owo_colors::OwoColorize;

/// Writes data and talk. Clones write to the same places.
///
/// Colours are dropped by anstream where `NO_COLOR` is set or nobody looks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Printer {
    line: Arc<Mutex<Option<ProgressBar>>>,
}

impl Printer {
    /// Writes what was asked for.
    ///
    /// # Errors
    /// Nobody reads stdout any more, or it cannot take more.
    pub(crate) fn data(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    /// Whether stdout is a terminal.
    pub(crate) fn data_is_seen(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Whether stderr is a terminal.
    pub(crate) fn talk_is_seen(&self) -> bool {
        io::stderr().is_terminal()
    }

    /// Says something by the way.
    pub(crate) fn note(&self, text: &str) {
        self.talk(&format!("{} {text}", "note:".dimmed()));
    }

    /// Says something that people should look at.
    pub(crate) fn warning(&self, text: &str) {
        self.talk(&format!("{} {text}", "warning:".yellow().bold()));
    }

    /// Says why it did not work.
    pub(crate) fn error(&self, text: &str) {
        self.talk(&format!("{} {text}", "error:".red().bold()));
    }

    /// Says a plain line.
    pub(crate) fn talk(&self, text: &str) {
        let write = || {
            // Where nobody reads stderr there is nobody to tell.
            drop(writeln!(anstream::stderr().lock(), "{text}"));
        };
        match &*self.line.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(line) => line.suspend(write),
            None => write(),
        }
    }

    /// Shows one line that replaces the last one; on a terminal only.
    pub(crate) fn status(&self, text: String) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let line = line.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.with_style(ProgressStyle::with_template("{wide_msg}").expect("a constant template"))
        });
        line.set_message(text);
        line.tick();
    }

    /// Takes the status line away.
    pub(crate) fn end_status(&self) {
        if let Some(line) = self.line.lock().unwrap_or_else(PoisonError::into_inner).take() {
            line.finish_and_clear();
        }
    }
}
