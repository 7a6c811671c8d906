"""What a run is asked to do."""

import argparse
from dataclasses import dataclass, replace

from soak.faults import DOT_TIMEOUT


@dataclass(frozen=True, slots=True)
class Plan:
    """For one database."""

    database: str
    seed: int
    emails: int
    kills: int
    restarts: int  # PostgreSQL: restarts and cut sessions; SQLite: long transactions of the application
    stops: int
    minutes: float
    daemons: int
    connections: int
    lease: float
    pipelining: bool = True

    @property
    def seconds(self) -> float:
        """What the faults and emails are spread over."""
        return self.minutes * 60

    def environment(self, url: str, port: int) -> dict[str, str]:
        """Settings of the daemons: everything short, so that minutes here are days elsewhere."""
        return {
            "OUTBOX_DATABASE_URL": url,
            "OUTBOX_SMTP_URL": f"smtp://127.0.0.1:{port}",
            "OUTBOX_SENDER": "Shop <shop@soak.test>",
            "OUTBOX_LEASE": f"{self.lease}s",
            "OUTBOX_POLL_INTERVAL": "200ms",
            "OUTBOX_RETRY_SCHEDULE": "300ms,600ms,1s,2s",
            "OUTBOX_DOUBT_DELAY": "1s",
            "OUTBOX_DRAIN_TIMEOUT": "10s",
            "OUTBOX_MAX_ATTEMPTS": "200",
            "OUTBOX_MAX_CONNECTIONS": str(self.connections),
        }


TIMEOUTS = f"""\
[transports.default]
url = "smtp://127.0.0.1"  # the environment has the port

[transports.default.timeouts]
connect = "5s"
command = "5s"
mail = "5s"
rcpt = "5s"
data = "5s"
block = "5s"
dot = "{DOT_TIMEOUT}s"
"""
"""`outbox.toml` of the daemons."""


def plans(arguments: list[str] | None = None) -> tuple[list[Plan], argparse.Namespace]:
    """The plans of the command line, and what else it says."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--emails", type=int, default=20000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--restarts", type=int, default=30, help="of PostgreSQL; as many long transactions on SQLite")
    parser.add_argument("--stops", type=int, default=30)
    parser.add_argument("--minutes", type=float, default=9.0, help="that all of it is spread over")
    parser.add_argument("--lease", type=float, default=8.0)
    parser.add_argument("--connections", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--json", default="soak.json", help="where the result goes")
    parser.add_argument(
        "--pipelining", action=argparse.BooleanOptionalAction, default=True, help="have the SMTP servers offer it"
    )
    parser.add_argument("--keep", action="store_true", help="keep the working folder also when all is well")
    given = parser.parse_args(arguments)
    whole = Plan(
        given.database,
        given.seed,
        given.emails,
        given.kills,
        given.restarts,
        given.stops,
        given.minutes,
        daemons=3,
        connections=given.connections,
        lease=given.lease,
        pipelining=given.pipelining,
    )
    if given.database != "both":
        return [replace(whole, daemons=3 if given.database == "postgresql" else 2)], given
    half = replace(whole, emails=whole.emails // 2, kills=whole.kills // 2, stops=whole.stops // 2)
    return [replace(half, database="postgresql"), replace(half, database="sqlite", daemons=2)], given
