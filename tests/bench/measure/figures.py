"""Figures out of samples. A figure is the median over repetitions; a ratio is the median of the ratios of windows of one repetition."""
import statistics


def quantile(field, share, scale=1.0):
    def read(sample):
        quantiles = sample.get(field)
        return quantiles[share] * scale if quantiles else None
    return read


def over(field, base, scale=1.0):
    def read(sample):
        return sample[field] / sample[base] * scale if sample.get(field) and sample.get(base) else None
    return read


def plain(field, scale=1.0):
    def read(sample):
        return sample[field] * scale if sample.get(field) is not None else None
    return read


def kept_kb(sample):
    return (sample["resident_kb"] - sample["before_kb"]) / sample["requests"] if sample.get("requests") else None


METRICS = {
    "req/s": plain("rps"),
    "p50 µs": quantile("latency", "p50"),
    "p99 µs": quantile("latency", "p99"),
    "total ms": quantile("latency", "p50", 1e-3),
    "CPU µs each": over("cpu", "requests", 1e6),
    "req per CPU s": over("requests", "cpu"),
    "first event ms": quantile("first", "p50", 1e-3),
    "event lag p50 µs": quantile("lag", "p50"),
    "event lag p99 µs": quantile("lag", "p99"),
    "handshake p50 µs": quantile("handshake", "p50"),
    "upstream connections": plain("upstream_connections"),
    "upstream calls": plain("upstream_chats"),
    "MB/s": over("bytes", "wall", 1e-6),
    "CPU s per GB": over("cpu", "bytes", 1e9),
    "port open ms": plain("listen_ms"),
    "first answer ms": plain("first_answer_ms"),
    "resident MB": plain("resident_kb", 1 / 1024),
    "kB kept each": kept_kb,
    "calls": plain("requests"),
    "served": plain("served"),
}


class Figures:
    def __init__(self, samples):
        self.cells = {}
        for sample in samples:
            if not sample.get("failed"):
                self.cells.setdefault((sample["scenario"], sample["system"]), {})[sample["repetition"]] = sample

    def get(self, scenario, metric, system, how="", versus=""):
        """The figure, or None where it was not measured. `how` is "" (as it is), "x" (over `versus`) or "+" (more than `versus`)."""
        read = METRICS[metric]
        values = {repetition: read(sample) for repetition, sample in self.cells.get((scenario, system), {}).items()}
        if how:
            others = {repetition: read(sample) for repetition, sample in self.cells.get((scenario, versus), {}).items()}
            pairs = [(value, others.get(repetition)) for repetition, value in values.items()]
            pairs = [(one, other) for one, other in pairs if one is not None and other is not None]
            found = [one - other for one, other in pairs] if how == "+" else [one / other for one, other in pairs if other]
        else:
            found = [value for value in values.values() if value is not None]
        return statistics.median(found) if found else None


def show(value, how=""):
    """Three figures or so, with a sign or an x where the value is a difference or a ratio."""
    if value is None:
        return "-"
    size = abs(value)
    digits = 0 if size >= 100 or value == 0 else 1 if size >= 10 else 2 if size >= 0.1 else 3
    return f"{value:+,.{digits}f}" if how == "+" else f"{value:,.{digits}f}" + ("x" if how == "x" else "")
