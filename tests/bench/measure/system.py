"""One system while it runs: started, loaded, watched, stopped."""
import json
import os
import signal
import subprocess
import time

from . import processes
from .paths import PROGRAMS, TUNNEL_HOST
from .peers import PEERS, listening

PORTS_APIECE = 100
START_LIMIT = 60


class System:
    """`core` and `load_core` are where it and the load generator may run; None is anywhere."""

    def __init__(self, name, number, folder, core, load_core):
        self.name, self.peer, self.folder = name, PEERS[name], folder
        self.port = 20000 + PORTS_APIECE * number
        self.core, self.load_core = core, load_core
        self.starts, self.process, self.route = 0, None, None

    @property
    def pid(self):
        return self.process.pid if self.process else 0

    def start(self):
        """ms until its port is open, until it says it is ready, until a first answer came through it from upstream."""
        self.starts += 1
        port, folder = self.port + self.starts, self.folder / f"{self.name}-{self.starts}"
        folder.mkdir()
        command = self.peer.command(port, folder)
        begin = time.monotonic()
        times = {}
        if command:
            arguments, environment = command
            with (folder / "log").open("wb") as log:
                self.process = spawn(self.core, arguments, stdout=log, stderr=log, env={**os.environ, **environment})
            self._wait(lambda: listening(port), begin, 0.0005)
        times["listen_ms"] = (time.monotonic() - begin) * 1e3
        self.route = self._wait(lambda: self.peer.route(port, folder), begin, 0.005)
        times["ready_ms"] = (time.monotonic() - begin) * 1e3
        self._wait(lambda: self._load("probe", {"max-secs": 10}).returncode == 0, begin, 0.005)
        times["first_answer_ms"] = (time.monotonic() - begin) * 1e3
        return times

    def _wait(self, condition, begin, pause):
        while not (found := condition()):
            if self.process and self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode} at its start: see {self.folder}")
            if time.monotonic() - begin > START_LIMIT:
                raise RuntimeError(f"{self.name} was not ready after {START_LIMIT} s: see {self.folder}")
            time.sleep(pause)
        return found

    def stop(self):
        """SIGTERM to its process group, SIGKILL if that does not help; how many seconds it took."""
        begin = time.monotonic()
        if not self.process:
            return 0.0
        for number, patience in ((signal.SIGTERM, 6), (signal.SIGKILL, 3)):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(patience)
                break
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        self.process = None
        return time.monotonic() - begin

    def window(self, upstream, scenario, repetition, mode, **flags):
        """One window of load as a sample: what the load generator saw, and what it cost the system meanwhile."""
        # The counters come first and last: asking for them is a connection, which is not the system's.
        counted, before = upstream.counters(), (processes.cpu_seconds(self.pid), upstream.cpu_seconds(), processes.cores())
        begin = time.monotonic()
        done = self._load(mode, flags)
        span = time.monotonic() - begin
        after = (processes.cpu_seconds(self.pid), upstream.cpu_seconds(), processes.cores())
        counters = upstream.counters()
        try:
            seen = json.loads(done.stdout)
        except ValueError:
            seen = {"failed": done.stderr[-300:].strip() or f"exit {done.returncode}"}
        cores = {core: (after[2][core][0] - busy) / span for core, (busy, _) in before[2].items()}
        stolen = sum(after[2][core][1] - steal for core, (_, steal) in before[2].items()) / span
        return {"system": self.name, "scenario": scenario, "repetition": repetition, **seen, "span": span, "cores": cores,
                "stolen": stolen, "cpu": after[0] - before[0], "upstream_cpu": after[1] - before[1],
                "upstream_chats": counters["chats"] - counted["chats"],
                # The second look at the counters is a connection too.
                "upstream_connections": max(0, counters["connections"] - counted["connections"] - 1)}

    def _load(self, mode, flags):
        if mode == "tunnel":
            flags = {**flags, "host": f"{TUNNEL_HOST}:443"}
        arguments = [PROGRAMS / "loadgen", "--mode", mode, *self.route.flags(mode)]
        for name, value in flags.items():
            arguments += [f"--{name}", value]
        process = spawn(self.load_core, arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        out, errors = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, out, errors)


def spawn(core, arguments, **options):
    """Starts a process in a session of its own, on one core."""
    everywhere = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        return subprocess.Popen([str(part) for part in arguments], stdin=subprocess.DEVNULL, start_new_session=True, **options)
    finally:
        os.sched_setaffinity(0, everywhere)
