"""`--profile T1`: where the processor's time of a drain goes, by module and by function."""

import json
import re
from collections import Counter
from pathlib import Path

from benchmarks.databases import Place
from benchmarks.report import table
from benchmarks.throughput import Load, fill, loads
from benchmarks.workbench import Workbench

_PLACES = (
    re.compile(r"site-packages/([^/.]+)"),
    re.compile(r"/(outbox/(?:\w+/)*\w+)\.py$"),
    re.compile(r"/lib/python3[^/]*/([^/.]+)"),
)
_NOBODY = "nobody: the loop, other threads, the start"

LINES = 30


def profile(bench: Workbench, target: str) -> str:
    """Tables for each database."""
    load = loads(bench.plan)[target]
    return "\n\n".join(_profile(bench, load, place) for place in bench.places)


def _profile(bench: Workbench, load: Load, place: Place) -> str:
    path = bench.new_file("prof")
    with place.fresh() as database:
        fill(database, load)
        bench.sink.begin(load.behaviour)
        with bench.outbox(database, "run", "--drain", module=("benchmarks.profiled", str(path))) as program:
            ended = program.wait()
    found = json.loads(path.read_text())
    modules: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    owners: Counter[str] = Counter()
    for file, name, looks in found["places"]:
        modules[_module(file)] += looks
        functions[f"{_module(file)}: {name}"] += looks
    for file, looks in found["owners"].items():
        name = _module(file)
        owners[_NOBODY if name in {"", "outbox/processes"} else name] += looks
    cost = ended.processor / load.count * 1e6
    return "\n\n".join(
        (
            f"### {place.kind}: {load.count:,} emails at {cost:.0f} µs, the start included ({modules.total():,} looks)",
            _shares("on behalf of", owners, cost),
            _shares("in the code of", modules, cost),
            _shares("in the function", functions, cost),
        )
    )


def _shares(what: str, looks: Counter[str], cost: float) -> str:
    whole = looks.total()
    rows = [[name, f"{cost * n / whole:.1f}", f"{n / whole:.1%}"] for name, n in looks.most_common(LINES)]
    return table([what, "µs per email", "share"], rows)


def _module(file: str) -> str:
    for pattern in _PLACES:
        if found := pattern.search(file):
            return found[1]
    return Path(file).stem
