"""What the command line asks for."""

import argparse
from dataclasses import dataclass, fields, replace
from pathlib import Path

from benchmarks.plan import FULL, QUICK, Plan
from benchmarks.targets import TARGETS
from benchmarks.throughput import loads

KINDS = ("SQLite", "PostgreSQL")


@dataclass(frozen=True, slots=True)
class Options:
    """Checked."""

    targets: list[str]
    plan: Plan
    kinds: list[str]
    profile: bool
    json: Path | None
    publish: Path | None


def parse(arguments: list[str]) -> Options:
    """Exits, with a word about it, where the arguments make no sense."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure what docs/benchmarks.md tells.")
    parser.add_argument("targets", nargs="*", metavar="T1", help=f"which of {', '.join(TARGETS)}; all without any")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="tiny numbers: shows that it works, measures nothing")
    sizes.add_argument("--full", action="store_true", help="T5 with ten million rows, T13 with one")
    names = ", ".join(f"{field.name} {field.default}" for field in fields(Plan))
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=NUMBER", type=_number, help=f"of {names}")
    parser.add_argument("--repeat", metavar="N", help="the same as --set repeat=N")
    parser.add_argument("--database", choices=[kind.lower() for kind in KINDS], help="leave the other one out")
    parser.add_argument("--profile", action="store_true", help="of T1, T2, T3: where the processor's time goes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the result")
    parser.add_argument("--publish", type=Path, metavar="FOLDER", help="where benchmarks.json, .svg and .md are")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.targets if name not in TARGETS]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}")
    plan = QUICK if given.quick else FULL if given.full else Plan()
    plan = replace(plan, **dict(given.set))
    if given.repeat:
        plan = replace(plan, repeat=int(given.repeat))
    if given.profile and not (given.targets and {*given.targets} <= {*loads(plan)}):
        parser.error("--profile is for T1, T2 or T3")
    kinds = [kind for kind in KINDS if given.database in {None, kind.lower()}]
    return Options(given.targets or list(TARGETS), plan, kinds, given.profile, given.json, given.publish)


def _number(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    known = {field.name: type(getattr(Plan(), field.name)) for field in fields(Plan)}
    try:
        return name, known[name](number)
    except (KeyError, ValueError):
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(known)} with a number") from None
