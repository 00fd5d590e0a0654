"""What the kernel says of a process and its descendants, and of the machine."""
import os
import platform
import subprocess
from pathlib import Path

from .paths import REPOSITORY

TICKS = os.sysconf("SC_CLK_TCK")


def descendants(pid):
    """The process and all that came from it."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry))
    found, queue = [], [pid]
    while queue:
        one = queue.pop()
        found.append(one)
        queue += children.get(one, [])
    return found


def cpu_seconds(pid):
    """CPU time of the tree's live threads, to the nanosecond (schedstat)."""
    total = 0
    for process in descendants(pid) if pid else []:
        try:
            for thread in os.listdir(f"/proc/{process}/task"):
                total += int(Path(f"/proc/{process}/task/{thread}/schedstat").read_text().split()[0])
        except OSError:
            continue
    return total / 1e9


def resident_kb(pid):
    """Resident memory of the tree, shared pages included."""
    total = 0
    for process in descendants(pid) if pid else []:
        try:
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Rss:"))
    return total


def cores():
    """Busy and stolen seconds of each core since boot."""
    times = {}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name != "cpu":
            user, nice, system, idle, iowait, irq, softirq, steal = map(int, fields[:8])
            times[int(name[3:])] = ((user + nice + system + irq + softirq + steal) / TICKS, steal / TICKS)
    return times


def machine():
    """What a reader must know to judge the figures."""
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release(), "rust": _output("rustc", "--version"),
            "revision": _output("git", "-C", REPOSITORY, "describe", "--always", "--dirty")}


def _output(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""
