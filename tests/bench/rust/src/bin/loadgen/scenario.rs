use crate::{
    connection::{Connection, Target},
    tally::{Summary, Tally, add},
    template::Template,
};
use agentrun_bench::{Flags, cpu_seconds, monotonic_ns};
use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{
    sync::Barrier,
    task::spawn_local,
    time::{sleep, timeout},
};

/// So that a proxy which refuses connections is not called in a tight loop.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(5);
/// Numbers of hit bodies start here, those of misses below.
const HIT_NUMBERS: u64 = 0xfeed_0000_0000_0000;

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Hit,
    Miss,
    Stream,
    Conn,
    Tunnel,
}

/// One window of load.
pub struct Plan {
    mode: Mode,
    connections: usize,
    length: Duration,
    requests: u64,
    hit_number: u64,
}

/// What the connections of one window share.
struct Window {
    plan: Plan,
    target: Rc<Target>,
    tally: Rc<Tally>,
    /// The first answer of a hit, which every other one must equal.
    first_answer: RefCell<Option<Vec<u8>>>,
    next_number: Cell<u64>,
    requests_left: Cell<u64>,
    /// Passed twice by each connection: when all are open, and when the clock runs.
    barrier: Barrier,
    end: Cell<Instant>,
}

impl Plan {
    pub fn from_flags(mode: &str, flags: &Flags) -> Self {
        let mode = match mode {
            "hit" => Mode::Hit,
            "miss" => Mode::Miss,
            "stream" => Mode::Stream,
            "conn" => Mode::Conn,
            "tunnel" => Mode::Tunnel,
            other => panic!("--mode {other} is not one of hit, miss, stream, conn, tunnel, probe"),
        };
        Plan {
            mode,
            connections: flags.number("conns", 1.0) as usize,
            length: Duration::from_secs_f64(flags.number("secs", 1.0)),
            requests: flags.number("requests", f64::from(u32::MAX)) as u64,
            hit_number: HIT_NUMBERS + flags.number("tag", 0.0) as u64,
        }
    }

    /// Runs the window and sums it up as a line of JSON.
    pub async fn run(self, target: Rc<Target>, tally: Rc<Tally>, guard: Duration) -> Result<String, String> {
        let first_answer = RefCell::default();
        if matches!(self.mode, Mode::Hit | Mode::Conn) {
            // The reply gets into the cache before anything is timed.
            let mut template = Template::new(&target, false);
            let warm_up = ask_once(&target, template.numbered(self.hit_number), Some(&first_answer));
            timeout(guard, warm_up).await.map_err(|_| "warm-up timed out".to_owned())?.map_err(|why| format!("warm-up: {why}"))?;
        }
        let window = Rc::new(Window {
            requests_left: Cell::new(self.requests),
            barrier: Barrier::new(self.connections + 1),
            plan: self,
            target,
            tally,
            first_answer,
            next_number: Cell::new(monotonic_ns() & 0x00ff_ffff_ffff_ffff),
            end: Cell::new(Instant::now()),
        });
        serde_json::to_string(&window.measure(guard).await).map_err(|error| error.to_string())
    }
}

impl Window {
    async fn measure(self: Rc<Self>, guard: Duration) -> Summary {
        let tasks: Vec<_> = (0..self.plan.connections).map(|_| spawn_local(self.clone().connection())).collect();
        let started = Cell::new((Instant::now(), cpu_seconds()));
        let everything = async {
            self.barrier.wait().await;
            started.set((Instant::now(), cpu_seconds()));
            self.end.set(Instant::now() + self.plan.length);
            self.barrier.wait().await;
            for task in tasks {
                task.await.expect("a connection does not panic");
            }
        };
        let cut = timeout(guard, everything).await.is_err();
        let (start, cpu) = started.get();
        self.tally.summary(start.elapsed().as_secs_f64(), cpu_seconds() - cpu, cut)
    }

    async fn connection(self: Rc<Self>) {
        let mut template = Template::new(&self.target, self.plan.mode == Mode::Stream);
        let mut connection = if self.plan.mode == Mode::Conn { None } else { self.open().await };
        if let (Some(open), Mode::Hit | Mode::Miss) = (&mut connection, self.plan.mode) {
            // One untimed request, so that lazy upstream connections are open.
            let number = if self.plan.mode == Mode::Hit { self.plan.hit_number } else { self.fresh_number() };
            if let Err(error) = ask(open, template.numbered(number), &Tally::default(), None).await {
                self.tally.fail(&error);
                connection = None;
            }
        }
        self.barrier.wait().await;
        self.barrier.wait().await;
        match (self.plan.mode, connection) {
            (Mode::Hit | Mode::Miss, connection) => self.requests(connection, &mut template).await,
            (Mode::Conn, _) => self.connections(&mut template).await,
            (Mode::Stream, Some(connection)) => self.streams(connection, &mut template).await,
            (Mode::Tunnel, Some(connection)) => self.tunnel(connection).await,
            (Mode::Stream | Mode::Tunnel, None) => {}
        }
    }

    async fn open(&self) -> Option<Connection> {
        let start = Instant::now();
        match Connection::open(&self.target).await {
            Ok(connection) => {
                self.tally.handshake.add(start.elapsed());
                Some(connection)
            }
            Err(error) => {
                self.tally.fail(&error);
                sleep(PAUSE_AFTER_FAILURE).await;
                None
            }
        }
    }

    fn fresh_number(&self) -> u64 {
        self.next_number.set(self.next_number.get() + 1);
        self.next_number.get()
    }

    /// Takes one request of those that are left, while there is time.
    fn take(&self) -> bool {
        let left = self.requests_left.get();
        self.requests_left.set(left.saturating_sub(1));
        left > 0 && Instant::now() < self.end.get()
    }

    async fn requests(&self, mut connection: Option<Connection>, template: &mut Template) {
        let hit = self.plan.mode == Mode::Hit;
        while self.take() {
            let mut open = match connection.take() {
                Some(open) => open,
                None => match self.open().await {
                    Some(open) => open,
                    None => continue,
                },
            };
            let number = if hit { self.plan.hit_number } else { self.fresh_number() };
            match ask(&mut open, template.numbered(number), &self.tally, hit.then_some(&self.first_answer)).await {
                Ok(_) => connection = Some(open),
                Err(error) => self.tally.fail(&error),
            }
        }
    }

    async fn connections(&self, template: &mut Template) {
        let untimed = Tally::default();
        while self.take() {
            let start = Instant::now();
            let Some(mut connection) = self.open().await else { continue };
            match ask(&mut connection, template.numbered(self.plan.hit_number), &untimed, Some(&self.first_answer)).await {
                Ok(200) => self.tally.latency.add(start.elapsed()),
                Ok(status) => self.tally.refused(status, untimed.why().as_bytes()),
                Err(error) => self.tally.fail(&error),
            }
            connection.close().await;
        }
        add(&self.tally.differ, untimed.differ.get());
    }

    async fn streams(&self, mut connection: Connection, template: &mut Template) {
        while self.take() {
            if let Err(error) = ask_stream(&mut connection, template.numbered(self.fresh_number()), &self.tally).await {
                return self.tally.fail(&error);
            }
        }
    }

    async fn tunnel(&self, mut connection: Connection) {
        let get = format!("GET /bytes HTTP/1.1\r\nHost: {}\r\n\r\n", self.target.host);
        let count = |piece: &[u8]| {
            add(&self.tally.bytes, piece.len() as u64);
            Instant::now() < self.end.get()
        };
        if let Err(error) = connection.exchange(get.as_bytes(), count).await {
            self.tally.fail(&error);
        }
    }
}

/// A connection, one request, an answer of 200.
pub async fn ask_once(target: &Target, request: &[u8], keep: Option<&RefCell<Option<Vec<u8>>>>) -> Result<(), String> {
    let tally = Tally::default();
    let mut connection = Connection::open(target).await.map_err(|error| error.to_string())?;
    match ask(&mut connection, request, &tally, keep).await {
        Ok(200) => Ok(()),
        Ok(_) => Err(tally.why()),
        Err(error) => Err(error.to_string()),
    }
}

/// One request on a connection, its status; the answer is kept as the first one or compared with it.
async fn ask(connection: &mut Connection, request: &[u8], tally: &Tally, first: Option<&RefCell<Option<Vec<u8>>>>) -> io::Result<u16> {
    let start = Instant::now();
    let mut answer = Vec::with_capacity(2048);
    let status = connection
        .exchange(request, |piece| {
            answer.extend_from_slice(piece);
            true
        })
        .await?;
    tally.latency.add(start.elapsed());
    add(&tally.bytes, answer.len() as u64);
    if status != 200 {
        tally.refused(status, &answer);
    } else if let Some(first) = first {
        let mut first = first.borrow_mut();
        match &*first {
            None => *first = Some(answer),
            Some(known) if *known != answer => add(&tally.differ, 1),
            Some(_) => {}
        }
    }
    Ok(status)
}

/// One streamed request: the first event, each event's lag, the end.
async fn ask_stream(connection: &mut Connection, request: &[u8], tally: &Tally) -> io::Result<()> {
    let start = Instant::now();
    let mut unread = Vec::new();
    let (mut first, mut done) = (None, false);
    let status = connection
        .exchange(request, |piece| {
            unread.extend_from_slice(piece);
            let now = monotonic_ns();
            while let Some(length) = unread.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = unread.drain(..length + 2).collect();
                first.get_or_insert_with(|| start.elapsed());
                if let Some(sent) = sent_at(&event) {
                    tally.lag.add(Duration::from_nanos(now.saturating_sub(sent)));
                }
                done |= event.ends_with(b"[DONE]\n\n");
            }
            true
        })
        .await?;
    tally.latency.add(start.elapsed());
    if status != 200 {
        tally.refused(status, &unread);
    }
    first.into_iter().for_each(|time| tally.first.add(time));
    add(&tally.done, u64::from(done));
    Ok(())
}

/// When the upstream sent an event, in its monotonic ns.
fn sent_at(event: &[u8]) -> Option<u64> {
    let mark = b"\"fp_";
    let at = event.windows(mark.len()).position(|window| window == mark)? + mark.len();
    let digits = event[at..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}
