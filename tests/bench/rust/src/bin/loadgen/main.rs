//! Load generator: HTTPS through an HTTP CONNECT proxy or straight, one thread, one JSON line out.
//!
//! `--mode hit|miss|stream|conn|tunnel|probe`
//! - `hit`: the same body over and over on kept-alive connections
//! - `miss`: a body that never occurred before each time (16 hex digits inside the user message)
//! - `stream`: like `miss` with `"stream":true`; times the first SSE event, the lag of each, and the end
//! - `conn`: a new TCP connection, CONNECT and full TLS handshake for each request, all of the same body
//! - `tunnel`: `GET /bytes` for `--secs` on each connection
//! - `probe`: one request; exit 0 when it was answered 200
//!
//! `--host NAME:PORT` (SNI, Host, CONNECT), `--proxy IP:PORT` or `--dial IP:PORT`, `--ca PEM`, `--conns N`, `--secs S`, `--requests R` (the
//! first limit that comes stops), `--max-secs S` (guard), `--body-bytes B`, `--tag N` (separates one scenario's hit body from another's).
use agentrun_bench::{Flags, monotonic_ns};
use connection::Target;
use std::{rc::Rc, time::Duration};
use tally::Tally;
use template::Template;
use tokio::{runtime::Builder, task::LocalSet, time::timeout};

mod connection;
mod scenario;
mod tally;
mod template;

fn main() {
    let flags = Flags::parse();
    let target = Rc::new(Target::from_flags(&flags));
    let runtime = Builder::new_current_thread().enable_all().build().expect("starting the runtime");
    let result = LocalSet::new().block_on(&runtime, run(&flags, target));
    if let Err(why) = result {
        eprintln!("{why}");
        std::process::exit(1);
    }
}

async fn run(flags: &Flags, target: Rc<Target>) -> Result<(), String> {
    let guard = Duration::from_secs_f64(flags.number("max-secs", 120.0));
    match flags.need("mode").as_str() {
        "probe" => {
            let mut template = Template::new(&target, false);
            let once = scenario::ask_once(&target, template.numbered(monotonic_ns()), None);
            timeout(guard, once).await.map_err(|_| "timed out".to_owned())?
        }
        mode => {
            let plan = scenario::Plan::from_flags(mode, flags);
            let tally = Rc::new(Tally::default());
            println!("{}", plan.run(target, tally, guard).await?);
            Ok(())
        }
    }
}
