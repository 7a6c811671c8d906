"""`python -m benchmarks [T1 T2 …]`: measures, tells, and writes down. The exit code says whether it worked, no more."""

import argparse
import json
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.machine import facts
from benchmarks.picture import draw
from benchmarks.plan import FULL, QUICK, Plan
from benchmarks.profiling import profile
from benchmarks.report import page, publish
from benchmarks.targets import TARGETS
from benchmarks.workbench import Workbench

KINDS = ("SQLite", "PostgreSQL")


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="T1", help=f"which of {', '.join(TARGETS)}; all without any")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="tiny numbers: shows that it works, measures nothing")
    size.add_argument("--full", action="store_true", help="T5 with ten million rows")
    parser.add_argument("--repeat", type=int, help="runs of each")
    names = ", ".join(f"{field.name} {field.default}" for field in fields(Plan))
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=NUMBER", type=_size, help=f"of {names}")
    parser.add_argument("--database", choices=[kind.lower() for kind in KINDS], help="leave the other one out")
    parser.add_argument("--profile", action="store_true", help="of T1, T2, T3: where the processor's time goes")
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument(
        "--publish", type=Path, metavar="DOCS", help="write benchmarks.json, .svg and .md in that folder"
    )
    given = parser.parse_args(arguments)
    unknown = [name for name in given.targets if name not in TARGETS]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}")
    if given.profile and not (given.targets and {*given.targets} <= {"T1", "T2", "T3"}):
        parser.error("--profile is for T1, T2 or T3")
    return given


def _plan(given: argparse.Namespace) -> Plan:
    plan = QUICK if given.quick else FULL if given.full else Plan()
    return replace(plan, **dict(given.set), **({"repeat": given.repeat} if given.repeat else {}))


def _size(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    [kind] = [type(field.default) for field in fields(Plan) if field.name == name]
    return name, kind(number)


@contextmanager
def _workbench(given: argparse.Namespace) -> Iterator[Workbench]:
    kinds = [kind for kind in KINDS if given.database in {None, kind.lower()}]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Workbench(_plan(given), Path(folder), kinds) as bench:
        yield bench


def measure(bench: Workbench, targets: list[str], command: str) -> dict[str, Any]:
    """Everything that was asked for, as it goes into the JSON."""
    begin = time.monotonic()
    document: dict[str, Any] = {"command": command, "machine": facts(bench.places), "targets": {}}
    for name in targets:
        print(f"{name} …", file=sys.stderr, flush=True)
        document["targets"][name] = TARGETS[name](bench).as_json()
    return {**document, "minutes": (time.monotonic() - begin) / 60}


def main(arguments: list[str]) -> None:
    """Measure or profile, and tell."""
    given = _options(arguments)
    with _workbench(given) as bench:
        if given.profile:
            for target in given.targets:
                print(f"## {target}\n\n{profile(bench, target)}\n")
            return
        command = shlex.join(["python", "-m", "benchmarks", *arguments])
        document = measure(bench, given.targets or list(TARGETS), command)
    whole = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    if given.json:
        given.json.write_text(whole)
    if given.publish:
        (given.publish / "benchmarks.json").write_text(whole)
        draw(document, given.publish / "benchmarks.svg")
        publish(document, given.publish / "benchmarks.md")
    print(page(document))


def _terminated(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # the signature is the library's
    sys.exit(128 + number)  # so that every `with` ends what it has started


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    main(sys.argv[1:])
