"""`python -m benchmarks [T1 T2 …]`: measures, tells, and writes down. The exit code says whether it worked, no more."""

import json
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.machine import facts
from benchmarks.options import parse
from benchmarks.picture import draw
from benchmarks.profiling import profile
from benchmarks.report import page, publish
from benchmarks.targets import TARGETS
from benchmarks.workbench import Workbench


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
    options = parse(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        Workbench(options.plan, Path(folder), options.kinds) as bench,
    ):
        if options.profile:
            for target in options.targets:
                print(f"## {target}\n\n{profile(bench, target)}\n")
            return
        document = measure(bench, options.targets, shlex.join(["python", "-m", "benchmarks", *arguments]))
    whole = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    if options.json:
        options.json.write_text(whole)
    if options.publish:
        (options.publish / "benchmarks.json").write_text(whole)
        draw(document, options.publish / "benchmarks.svg")
        publish(document, options.publish / "benchmarks.md")
    print(page(document))


def _terminated(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # the signature is the library's
    sys.exit(128 + number)  # so that every `with` ends what it has started


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    main(sys.argv[1:])
