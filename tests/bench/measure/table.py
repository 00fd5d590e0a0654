"""The table of a run: its rows, and the remarks under it."""
import statistics

from .figures import Figures, show
from .peers import PEERS
from .scenarios import STREAMS, trouble

FULL = 0.93


def rows():
    """Label, scenario, metric, how, versus."""
    listed = []
    for connections in (1, 16, 64):
        hit = f"hit c{connections}"
        listed += [(hit, "req/s", "", ""), (hit, "p50 µs", "", ""), (hit, "p99 µs", "", ""), (hit, "p50 µs", "x", "nginx"),
                   (hit, "CPU µs each", "", ""), (hit, "req per CPU s", "", ""), (hit, "req per CPU s", "x", "hyper-tls"),
                   (hit, "req per CPU s", "x", "agentopt")]
    for connections in (1, 16):
        miss = f"miss c{connections}"
        listed += [(miss, "req/s", "", ""), (miss, "p50 µs", "", ""), (miss, "p50 µs", "+", "direct"), (miss, "p50 µs", "+", "hyper-tls"),
                   (miss, "p99 µs", "+", "direct"), (miss, "CPU µs each", "", "")]
    listed += [("stream", "first event ms", "", ""), ("stream", "first event ms", "+", "direct"), ("stream", "event lag p50 µs", "", ""),
               ("stream", "event lag p50 µs", "+", "direct"), ("stream", "event lag p99 µs", "", ""), ("stream", "total ms", "", ""),
               ("conn", "req/s", "", ""), ("conn", "req/s", "x", "direct"), ("conn", "handshake p50 µs", "", ""),
               ("conn", "CPU µs each", "", ""), ("conn", "upstream connections", "", ""),
               ("tunnel", "MB/s", "", ""), ("tunnel", "MB/s", "x", "direct"), ("tunnel", "CPU s per GB", "", ""),
               ("start", "port open ms", "", ""), ("start", "first answer ms", "", ""), ("start", "resident MB", "", ""),
               ("memory: large calls", "calls", "", ""), ("memory: large calls", "resident MB", "", ""),
               ("memory: large calls", "kB kept each", "", ""), ("memory: cached replies", "calls", "", ""),
               ("memory: cached replies", "resident MB", "", ""), ("memory: cached replies", "kB kept each", "", ""),
               ("end", "resident MB", "", ""), ("offline", "served", "", "")]
    return [(label(*row), *row) for row in listed]


def label(scenario, metric, how="", versus=""):
    return f"{scenario}: {metric}" + {"": "", "x": f" over {versus}", "+": f" more than {versus}"}[how]


def systems(result):
    found = {sample["system"] for sample in result["samples"]}
    return [name for name in PEERS if name in found]


def cells(result):
    """Header and rows of text, rows that nobody has left out."""
    figures, names = Figures(result["samples"]), systems(result)
    table = [["", *names]]
    for title, scenario, metric, how, versus in rows():
        row = [show(figures.get(scenario, metric, name, how, versus), how) for name in names]
        if any(cell != "-" for cell in row):
            table.append([title, *row])
    return table


def text(table, words=1):
    """For a terminal; the first columns, so many, are words, the others numbers."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = ["  ".join(cell.ljust(width) if column < words else cell.rjust(width)
                       for column, (cell, width) in enumerate(zip(row, widths))) for row in table]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def markdown(table, words=1):
    lines = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([lines[0], "|" + "---|" * words + "---:|" * (len(table[0]) - words), *lines[1:]])


def then_and_now(now, then, system):
    """One system's figures beside those of an earlier run."""
    new, old, table = Figures(now["samples"]), Figures(then["samples"]), [[system, "then", "now", "now/then"]]
    for title, *figure in rows():
        scenario, metric, how, versus = figure
        after, before = (source.get(scenario, metric, system, how, versus) for source in (new, old))
        if after is not None and before is not None:
            table.append([title, show(before, how), show(after, how), show(after / before, "x") if before else "-"])
    return table


def remarks(result):
    """What was cached, what was odd, how noisy it was."""
    samples, lines = result["samples"], []
    for name in systems(result):
        mine = [sample for sample in samples if sample["system"] == name and not sample.get("failed")]
        hits = [sample for sample in mine if sample["scenario"].startswith("hit")]
        if hits and PEERS[name].caches:
            calls, requests = (sum(sample[field] for sample in hits) for field in ("upstream_chats", "requests"))
            lines.append(f"{name}: {requests:,} timed hits took {calls:,} upstream calls ({len(hits)} bodies were new)")
        cut = [sample["done"] for sample in mine if sample["scenario"] == "stream" and sample["done"] != STREAMS]
        if cut:
            lines.append(f"{name}: of {STREAMS} streams a window, so many ended with [DONE]: {cut}")
    lines += [f"ODD: {sample['system']}, {sample['scenario']}: {trouble(sample)}" for sample in samples
              if sample["scenario"] != "offline" and trouble(sample)][:12]
    lines += [f"ODD: {sample['system']} without its upstream: {sample['why']}" for sample in samples
              if sample["scenario"] == "offline" and not sample["served"]]
    return lines + noise(result)


def noise(result):
    windows = [sample for sample in result["samples"] if "cores" in sample and not sample.get("failed")]
    options, lines, spreads = result["options"], [], []
    if not windows:
        return lines
    if not options["no_pin"]:
        full = {f"{sample['system']} {sample['scenario']}" for sample in windows if not sample["scenario"].startswith("memory")
                and sample["cores"][str(options["load_core"])] > FULL > sample["cores"][str(options["system_core"])]}
        if full:
            lines.append("the load generator's core was the full one (req/s is a lower bound, CPU figures hold): " + ", ".join(sorted(full)))
    groups = {}
    for sample in windows:
        if sample["scenario"].startswith(("hit", "miss", "conn")) and sample.get("rps"):
            groups.setdefault((sample["system"], sample["scenario"]), []).append(sample["rps"])
    for rates in groups.values():
        spreads.append((max(rates) - min(rates)) / statistics.median(rates))
    load = [sum(sample["cores"].values()) - (sample["cpu"] + sample.get("client_cpu", 0) + sample["upstream_cpu"]) / sample["span"]
            for sample in windows]
    return lines + [f"noise: req/s of one cell moved by {statistics.median(spreads or [0]):.0%} (median) and {max(spreads or [0]):.0%} (worst) "
                    f"between repetitions; others used {max(0, statistics.median(load)):.2f} cores (median), {max(load):.2f} (worst); "
                    f"{max(sample['stolen'] for sample in windows):.0%} of a core was stolen at worst"]
