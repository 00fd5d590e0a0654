//! How far a run is, told now and then.

use std::time::{Duration, Instant};

use agentrun_eval::{decimal, summary::Summary};

use crate::printer::Printer;

/// Between two lines where it is no terminal.
const LINE: Duration = Duration::from_secs(10);
/// Between two looks on a terminal.
const LOOK: Duration = Duration::from_millis(200);

/// Tells people how far a run is.
pub(crate) struct Progress {
    printer: Printer,
    /// "simulated, " or nothing: a simulation says so on every output.
    prefix: &'static str,
    started: Instant,
    told: Option<Instant>,
    /// Trials that had ended before this process began.
    before: u64,
}

impl Progress {
    /// Starts to watch a run of which `before` trials have ended.
    pub(crate) fn new(printer: Printer, simulated: bool, before: u64) -> Self {
        let prefix = if simulated { "simulated: " } else { "" };
        Self { printer, prefix, started: Instant::now(), told: None, before }
    }

    /// Whether it is time for another look.
    pub(crate) fn is_due(&self) -> bool {
        let pause = if self.printer.talk_is_seen() { LOOK } else { LINE };
        self.told.is_none_or(|told| told.elapsed() >= pause)
    }

    /// Tells how far it is.
    pub(crate) fn tell(&mut self, summary: &Summary) {
        self.told = Some(Instant::now());
        let text = format!("{}{}", self.prefix, sentence(summary, self.before, self.started.elapsed()));
        if self.printer.talk_is_seen() {
            self.printer.status(text);
        } else {
            self.printer.talk(&text);
        }
    }

    /// Takes the line away, and leaves the last state behind.
    pub(crate) fn end(&mut self, summary: &Summary) {
        self.printer.end_status();
        self.printer.talk(&format!("{}{}", self.prefix, sentence(summary, self.before, self.started.elapsed())));
    }
}

fn sentence(summary: &Summary, before: u64, elapsed: Duration) -> String {
    let (trials, calls) = (&summary.trials, &summary.calls);
    let ended = trials.succeeded + trials.failed + trials.unobserved;
    let mut parts = vec![format!("{ended}/{} trials", trials.total)];
    if trials.running > 0 {
        parts.push(format!("{} running", trials.running));
    }
    if trials.failed > 0 {
        parts.push(format!("{} failed", trials.failed));
    }
    parts.push(format!("{} calls, {} cached", calls.total, calls.cached));
    parts.push(format!("${} spent", decimal::usd(calls.spent_usd)));
    let (done, left) = (ended.saturating_sub(before), trials.total.saturating_sub(ended));
    if done > 0 && left > 0 {
        let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
        parts.push(format!("{rate:.1} trials/s, {} left", span(left as f64 / rate)));
    } else if left == 0 {
        parts.push(format!("{} in all", span(elapsed.as_secs_f64())));
    }
    parts.join(" · ")
}

/// A span as people say it: `42 s`, `3 min 5 s`, `2 h 10 min`.
fn span(seconds: f64) -> String {
    let seconds = if seconds.is_finite() { seconds.ceil() as u64 } else { 0 };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use agentrun_eval::summary::{CallTotals, TrialCounts};

    use super::*;

    #[test]
    fn the_line_says_how_far_at_what_cost_and_how_long_yet() {
        let trials = TrialCounts { total: 600, pending: 380, running: 8, succeeded: 200, failed: 11, unobserved: 1 };
        let calls = CallTotals { total: 1410, cached: 402, spent_usd: "3.1412".parse().unwrap(), ..CallTotals::default() };
        let summary = Summary { trials, calls, failures: Vec::new() };
        let expected = "212/600 trials · 8 running · 11 failed · 1410 calls, 402 cached · $3.1412 spent · 2.0 trials/s, 3 min 14 s left";
        assert_eq!(sentence(&summary, 12, Duration::from_secs(100)), expected);
    }

    #[test]
    fn spans_read_well() {
        let table = [(0.2, "1 s"), (59.0, "59 s"), (60.0, "1 min 0 s"), (7800.0, "2 h 10 min"), (f64::INFINITY, "0 s")];
        for (seconds, expected) in table {
            assert_eq!(span(seconds), expected);
        }
    }
}
