"""What the figures were measured on."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from benchmarks import postfix
from benchmarks.databases import Place
from benchmarks.processes import ROOT

_LIBRARIES = ("aiosmtplib", "aiosqlite", "asyncpg", "jinja2", "sqlalchemy", "uvloop")


def facts(places: list[Place]) -> dict[str, Any]:
    """Of the machine, the versions, and what was checked out."""
    return {
        "date": datetime.now(UTC).isoformat(" ", "seconds"),
        "commit": _git("describe", "--always", "--dirty"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "databases": {place.kind: place.version for place in places},
        "postfix": bool(postfix.find("smtp-source")),
        "load_average": os.getloadavg(),
    }


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(("git", *arguments), cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"  # not a checkout
    return done.stdout.strip()


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:  # noqa: PTH123  # not a path of ours
            return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    except OSError:
        return "unknown"
