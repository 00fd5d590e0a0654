"""Puts a run's table into docs/performance.md."""
from . import bars, table
from .paths import PERFORMANCE_PAGE
from .peers import PEERS

BEGIN, END = "<!-- tests/bench/run --write: begin -->", "<!-- tests/bench/run --write: end -->"


def write(result):
    page = PERFORMANCE_PAGE.read_text()
    if BEGIN not in page or END not in page:
        raise SystemExit(f"{PERFORMANCE_PAGE} has no place for the table: put the lines\n{BEGIN}\n{END}\nwhere it shall stand")
    before, rest = page.split(BEGIN, 1)
    PERFORMANCE_PAGE.write_text(f"{before}{BEGIN}\n{body(result)}\n{END}{rest.split(END, 1)[1]}")


def body(result):
    machine, options = result["machine"], result["options"]
    facts = (f"{result['when']}, revision {machine['revision']}: {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, "
             f"{machine['rust']}. {options['repetitions']} repetitions of {options['seconds']} s windows, load average {result['load']:.1f} "
             f"at the end, {result['seconds']} s in all.")
    meanings = "\n".join(f"- `{name}`: {PEERS[name].meaning}" for name in table.systems(result))
    remarks = "\n".join(f"- {line}" for line in table.remarks(result))
    return (f"{facts}\n\n{table.markdown(bars.verdicts(result), words=3)}\n\n{meanings}\n\n{table.markdown(table.cells(result))}\n\n{remarks}")
