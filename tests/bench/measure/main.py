"""The command line."""
import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

from . import bars, namespaces, page, processes, scenarios, setup, table
from .paths import RESULTS
from .peers import EVERYTHING, PEERS

DESCRIPTION = """Measures AgentRun's sidecar beside its peers, in one run on one machine (about 4 minutes), and prints ratios.

It makes what it needs in its own folder, then starts itself again in namespaces of its own (root or user namespaces): only loopback
exists there, /etc/hosts there names the fake upstream api.openai.com, and all that it started ends with it. The system under test has
one core, the load generator and the fake upstream another."""
ENVIRONMENT = """environment:
  BENCH_AGENTOPT  a checkout of AgentOpt's repository: measure its daemon too
  BENCH_PYTHON    a Python of at least 3.12 for AgentOpt
  BENCH_SIDECAR   the binary to measure, instead of this checkout's, built as it is shipped (profile dist)"""


def main():
    options = arguments()
    if options.show:
        return show(options.show, options)
    if not os.environ.get(namespaces.MARK):
        setup.prepare(options.systems)
    try:
        namespaces.enter()
        measure(options)
    except KeyboardInterrupt:
        sys.exit(130)


def arguments():
    parser = argparse.ArgumentParser(description=DESCRIPTION, epilog=ENVIRONMENT, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = lambda text: text.split(",")
    parser.add_argument("--systems", type=names, default=list(PEERS), help=f"of {','.join(PEERS)}")
    parser.add_argument("--only", type=names, default=sorted(EVERYTHING),
                        help=f"of {','.join(sorted(EVERYTHING))}, or a step like 'hit c64'")
    parser.add_argument("--quick", action="store_true", help="a smoke run of a minute, whose figures are worth little")
    parser.add_argument("--against", metavar="FILE", type=earlier,
                        help="also print the sidecar's figures beside those of an earlier run's JSON")
    parser.add_argument("--show", metavar="FILE", type=earlier, help="no run: print the table of an earlier one")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.7, help="length of a window")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--large-calls", type=int, default=5000, help="distinct calls of 20 kB for the memory figure")
    parser.add_argument("--cached-replies", type=int, default=10000, help="distinct calls for the memory of a cached reply")
    parser.add_argument("--system-core", type=int, default=1)
    parser.add_argument("--load-core", type=int, default=0)
    parser.add_argument("--no-pin", action="store_true", help="no cores of one's own; so it is on a machine with one core")
    options = parser.parse_args()
    if unknown := set(options.systems) - set(PEERS):
        parser.error(f"no such system: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    steps = EVERYTHING | {step for step, *_ in scenarios.steps(0)}
    if unknown := set(options.only) - steps:
        parser.error(f"nothing is called {', '.join(sorted(unknown))}; there are {', '.join(sorted(steps))}")
    if options.quick:
        options.repetitions, options.seconds, options.starts, options.large_calls, options.cached_replies = 1, 0.3, 1, 300, 2000
    options.no_pin = options.no_pin or os.cpu_count() < 2
    options.only = frozenset(options.only)
    return options


def earlier(path):
    """A run's JSON, read before anything is measured."""
    try:
        found = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{path}: {error}") from error
    if not isinstance(found, dict) or "samples" not in found:
        raise argparse.ArgumentTypeError(f"{path} is no run of this benchmark")
    return found


def measure(options):
    begin = time.monotonic()
    left_out = [name for name in options.systems if not PEERS[name].there()]
    if left_out:
        print(f"-- not there, left out: {', '.join(left_out)}")
    options.systems = scenarios.available(options.systems)
    name = time.strftime("%Y%m%d-%H%M%S")
    folder = RESULTS / name
    folder.mkdir(parents=True)
    namespaces.furnish(folder)
    run = scenarios.Run(options, folder, lambda line: print(f"[{time.monotonic() - begin:4.0f} s] {line}", flush=True))
    samples = run.go()
    if not run.left_out:
        shutil.rmtree(folder)
    kept = {name: value for name, value in vars(options).items() if name not in ("only", "against", "show")}
    result = {"when": time.strftime("%F"), "seconds": round(time.monotonic() - begin), "load": os.getloadavg()[0],
              "machine": processes.machine(), "options": kept, "samples": samples}
    path = RESULTS / f"{name}.json"
    # Read back, so that a run and an earlier run are the same thing.
    path.write_text(json.dumps(result))
    show(json.loads(path.read_text()), options)
    print(f"\n{path}")


def show(result, options):
    print("\n" + table.text(table.cells(result)) + "\n")
    print("\n".join(table.remarks(result)))
    if "ours" in table.systems(result):
        print("\n" + table.text(bars.verdicts(result), words=3))
    if options.against and "ours" in table.systems(result):
        print("\n" + table.text(table.then_and_now(result, options.against, "ours")))
    if options.write:
        page.write(result)
