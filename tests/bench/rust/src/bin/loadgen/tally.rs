use serde::Serialize;
use std::{
    cell::{Cell, RefCell},
    io,
    time::Duration,
};

/// What a scenario's connections count together. All times in µs.
#[derive(Default)]
pub struct Tally {
    /// Whole requests; with `conn`, from the TCP connection to the end of the answer.
    pub latency: Times,
    /// To the first SSE event.
    pub first: Times,
    /// TCP connection, CONNECT and TLS.
    pub handshake: Times,
    /// From the upstream's sending of an SSE event to its arrival here.
    pub lag: Times,
    pub bytes: Cell<u64>,
    pub errors: Cell<u64>,
    pub non200: Cell<u64>,
    /// Answers of a hit that were not byte for byte the first one.
    pub differ: Cell<u64>,
    /// Streams that ended with `[DONE]`.
    pub done: Cell<u64>,
    why: RefCell<String>,
}

#[derive(Default)]
pub struct Times(RefCell<Vec<u64>>);

#[derive(Serialize)]
pub struct Quantiles {
    n: usize,
    p50: u64,
    p90: u64,
    p99: u64,
    max: u64,
}

impl Times {
    pub fn add(&self, time: Duration) {
        self.0.borrow_mut().push(time.as_micros() as u64);
    }

    pub fn count(&self) -> usize {
        self.0.borrow().len()
    }

    fn quantiles(&self) -> Option<Quantiles> {
        let mut times = self.0.borrow_mut();
        times.sort_unstable();
        let last = times.len().checked_sub(1)?;
        let at = |share: f64| times[(last as f64 * share).round() as usize];
        Some(Quantiles { n: times.len(), p50: at(0.5), p90: at(0.9), p99: at(0.99), max: times[last] })
    }
}

pub fn add(counter: &Cell<u64>, by: u64) {
    counter.set(counter.get() + by);
}

/// The line that is printed.
#[derive(Serialize)]
pub struct Summary {
    wall: f64,
    requests: usize,
    rps: f64,
    bytes: u64,
    errors: u64,
    non200: u64,
    differ: u64,
    done: u64,
    /// The guard's time was up before the scenario ended.
    cut: bool,
    client_cpu: f64,
    latency: Option<Quantiles>,
    first: Option<Quantiles>,
    handshake: Option<Quantiles>,
    lag: Option<Quantiles>,
    why: String,
}

impl Tally {
    pub fn fail(&self, error: &io::Error) {
        add(&self.errors, 1);
        self.explain(|| error.to_string());
    }

    pub fn refused(&self, status: u16, body: &[u8]) {
        add(&self.non200, 1);
        self.explain(|| format!("{status} {}", String::from_utf8_lossy(&body[..body.len().min(200)])));
    }

    /// The first failure is the one that is told.
    fn explain(&self, why: impl FnOnce() -> String) {
        let mut kept = self.why.borrow_mut();
        if kept.is_empty() {
            *kept = why();
        }
    }

    pub fn why(&self) -> String {
        self.why.borrow().clone()
    }

    pub fn summary(&self, wall: f64, client_cpu: f64, cut: bool) -> Summary {
        let requests = self.latency.count();
        Summary {
            wall,
            requests,
            rps: requests as f64 / wall,
            bytes: self.bytes.get(),
            errors: self.errors.get(),
            non200: self.non200.get(),
            differ: self.differ.get(),
            done: self.done.get(),
            cut,
            client_cpu,
            latency: self.latency.quantiles(),
            first: self.first.quantiles(),
            handshake: self.handshake.quantiles(),
            lag: self.lag.quantiles(),
            why: self.why(),
        }
    }
}
