"""What is measured, in order. Every step yields samples: dictionaries with `system`, `scenario`, `repetition` and what was seen."""
import time

from . import processes
from .peers import PEERS
from .system import System
from .upstream import Upstream

STREAMS = 4
LARGE_REQUEST = 20 * 1024
# Memory of cached replies is taken from this share of them on, so that buffers and pools that fill once are not counted.
CACHED_WARM_UP = 0.4
# Numbers of hit bodies, one for each repetition; the offline check has its own.
OFFLINE_TAG = 99


def steps(seconds):
    """Scenario, the load generator's mode, and its flags, for windows of this length."""
    listed = [(f"hit c{connections}", "hit", {"conns": connections, "secs": seconds}) for connections in (1, 16, 64)]
    listed += [(f"miss c{connections}", "miss", {"conns": connections, "secs": seconds}) for connections in (1, 16)]
    listed += [("stream", "stream", {"conns": STREAMS, "requests": STREAMS, "secs": 5})]
    return listed + [("conn", "conn", {"conns": 4, "secs": seconds}), ("tunnel", "tunnel", {"conns": 1, "secs": seconds})]


class Run:
    """One run over some systems; `options` are the command line's."""

    def __init__(self, options, folder, say):
        self.options, self.say = options, say
        core, load_core = (None, None) if options.no_pin else (options.system_core, options.load_core)
        self.upstream = Upstream(load_core)
        self.systems = [System(name, number, folder, core, load_core) for number, name in enumerate(options.systems)]
        self.samples, self.left_out = [], []

    def go(self):
        """The samples of the whole run."""
        wanted, self.systems = self.systems, []
        for system in wanted:
            try:
                self.start(system)
                self.systems.append(system)
            except RuntimeError as error:
                self.left_out.append(system.name)
                self.say(f"LEFT OUT: {error}")
                system.stop()
        self.say("all are up")
        for scenario, mode, flags in steps(self.options.seconds):
            if {scenario, mode} & self.options.only:
                self.turns(scenario, mode, flags)
        if "offline" in self.options.only:
            self.offline()
        for system in self.systems:
            self.add(system, "end", 0, resident_kb=processes.resident_kb(system.pid), stop_s=system.stop())
        self.upstream.stop()
        return self.samples

    def add(self, system, scenario, repetition, **seen):
        self.samples.append({"system": system.name, "scenario": scenario, "repetition": repetition, **seen})

    def start(self, system):
        """Starts it as often as asked, then once more for each memory figure, and leaves it running."""
        scenarios = system.peer.scenarios & self.options.only
        starts = self.options.starts if "start" in scenarios else 0
        for repetition in range(starts):
            times = system.start()
            self.add(system, "start", repetition, resident_kb=processes.resident_kb(system.pid), **times)
            system.stop()
        if "memory" in scenarios:
            self.memory(system)
        system.start()

    def memory(self, system):
        calls, cached = self.options.large_calls, self.options.cached_replies
        load = {"conns": 8, "secs": 25}
        system.start()
        before = processes.resident_kb(system.pid)
        window = system.window(self.upstream, "memory: large calls", 0, "miss", requests=calls, **{"body-bytes": LARGE_REQUEST}, **load)
        time.sleep(0.5)
        self.samples.append({**window, "before_kb": before, "resident_kb": processes.resident_kb(system.pid)})
        system.stop()
        system.start()
        warm_up = int(cached * CACHED_WARM_UP)
        system.window(self.upstream, "memory: warm-up", 0, "miss", requests=warm_up, **load)
        time.sleep(0.5)
        before = processes.resident_kb(system.pid)
        window = system.window(self.upstream, "memory: cached replies", 0, "miss", requests=cached - warm_up, **load)
        time.sleep(0.5)
        self.samples.append({**window, "before_kb": before, "resident_kb": processes.resident_kb(system.pid)})
        system.stop()

    def turns(self, scenario, mode, flags):
        """Windows of a scenario: in each repetition every system takes its turn, another one first each time."""
        able = [system for system in self.systems if mode in system.peer.scenarios]
        for repetition in range(self.options.repetitions):
            first = repetition % max(1, len(able))
            for system in able[first:] + able[:first]:
                sample = system.window(self.upstream, scenario, repetition, mode, tag=repetition, **flags)
                self.samples.append(sample)
                if trouble(sample):
                    self.say(f"{system.name}, {scenario}: {trouble(sample)}")
        self.say(scenario)

    def offline(self):
        """Is a hit served, to a new connection, when the upstream is gone?"""
        able = [system for system in self.systems if "offline" in system.peer.scenarios]
        flags = {"conns": 1, "requests": 3, "secs": 3, "max-secs": 20, "tag": OFFLINE_TAG}
        online = {system: system.window(self.upstream, "offline", 0, "hit", **flags) for system in able}
        self.upstream.stop()
        for system, sample in online.items():
            if trouble(sample):
                self.say(f"{system.name}, before the upstream is stopped: {trouble(sample)}")
                continue
            sample = system.window(self.upstream, "offline", 0, "hit", **flags)
            self.add(system, "offline", 0, served=0 if trouble(sample) else 1, why=trouble(sample))
        self.say("offline")


def trouble(sample):
    """What went wrong in a window, or an empty string."""
    parts = [sample["failed"]] if sample.get("failed") else []
    counters = ("errors", "non200", "differ") if PEERS[sample["system"]].caches else ("errors", "non200")
    parts += [f"{sample[name]} {name}" for name in counters if sample.get(name)]
    parts += ["cut by the guard"] if sample.get("cut") else []
    return ", ".join(parts + ([sample["why"]] if sample.get("why") else []))


def available(names):
    """Those of the systems that can be measured here, in the order of the table."""
    return [name for name in PEERS if name in names and PEERS[name].there()]
