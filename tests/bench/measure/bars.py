"""A run's figures of the sidecar against the bars of `bars.toml`."""
import tomllib

from .figures import Figures, show
from .paths import BENCH
from .table import label


def verdicts(result, system="ours"):
    """A row for each bar: verdict, what, measured, bar. The verdict is met, MISSED, or not measured."""
    figures, rows = Figures(result["samples"]), []
    for bar in tomllib.loads((BENCH / "bars.toml").read_text())["bar"]:
        figure = (bar["scenario"], bar["metric"])
        how, versus = bar.get("how", ""), bar.get("versus", "")
        value = figures.get(*figure, system, how, versus)
        floor, ceiling = bar.get("at_least"), bar.get("at_most")
        if value is None:
            verdict = "not measured"
        else:
            verdict = "met" if (value >= floor if ceiling is None else value <= ceiling) else "MISSED"
        limit = f"≥ {show(floor, how)}" if ceiling is None else f"≤ {show(ceiling, how)}"
        rows.append([verdict, bar["name"], label(*figure, how, versus), show(value, how), limit])
    return [["verdict", "bar", "figure", "measured", "must be"], *rows]
