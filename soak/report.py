"""The result, for people and for programs."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from soak.judge import Judgement, recoveries
from soak.theatre import Theatre

_LEVEL = re.compile(r"(ERROR|CRITICAL)\s+(\S+: .*)")
_LAST = re.compile(r"^(?:\S+\.)?(\w+(?:Error|Exception|Timeout|Exit))\b.*")


@dataclass(frozen=True, slots=True)
class LogFacts:
    """What the daemons' logs tell."""

    lease_lost: int
    errors: Counter[str]
    unexpected: list[str]


def log_facts(theatre: Theatre) -> LogFacts:
    """Count the lines that matter. Database errors are expected: the database was broken."""
    lost, errors, unexpected = 0, Counter[str](), list[str]()
    for daemon in theatre.all_daemons:
        for line in daemon.lines:
            lost += "lease_lost" in line
            found = _LEVEL.search(line)
            if found:
                errors[re.sub(r"\d[\d.]*", "N", found[2])[:100]] += 1
            if found and ("CRITICAL" in line or "internal error" in line):
                unexpected.append(f"{daemon.label}: {line.strip()}")
    return LogFacts(lost, errors, unexpected)


def _times(seconds: Sequence[float]) -> str:
    if not seconds:
        return "-"
    return f"{median(seconds):.1f} s / {seconds[-1]:.1f} s ({len(seconds)})"


def as_json(theatre: Theatre, found: Judgement) -> dict[str, Any]:
    """Everything in the table, and the evidence."""
    diary, facts = theatre.diary, log_facts(theatre)
    return {
        "database": theatre.plan.database,
        "seed": theatre.plan.seed,
        "lease": theatre.plan.lease,
        "emails": len([w for w in diary.wishes.values() if w.committed is not False]),
        "messages_at_the_server": found.messages,
        "statuses": dict(found.statuses),
        "faults": dict(diary.faults),
        "sink_faults": dict(sink_faults(theatre)),
        "lost": found.lost,
        "stuck": found.stuck,
        "broken": found.broken,
        "duplicated": dict(found.duplicated),
        "most_messages_per_kill": found.most_per_kill,
        "connections": theatre.plan.connections,
        "freed": recoveries(diary.kills, "freed", clean=True),
        "recovery_clean": recoveries(diary.kills, "recovery", clean=True),
        "recovery_all": recoveries(diary.kills, "recovery", clean=False),
        "returns": sorted(diary.returns),
        "slowest_write": diary.slowest_write,
        "slow_writes": [asdict(span) for span in diary.slow_writes],
        "kills": [asdict(kill) for kill in diary.kills],
        "outages": [asdict(span) for span in diary.outages],
        "stops": {who: [asdict(span) for span in spans] for who, spans in diary.stops.items()},
        "lease_lost": facts.lease_lost,
        "errors_logged": dict(facts.errors),
    }


def sink_faults(theatre: Theatre) -> Counter[str]:
    """What the SMTP server did wrong."""
    return Counter(
        f"{e['what']}" if " " in e["what"] else f"{e['what']} at {e['at']}" for e in theatre.sink.events("fault")
    )


def table(results: Sequence[tuple[Theatre, Judgement]]) -> str:
    """A Markdown table, one column for each database."""
    columns = [_column(theatre, found) for theatre, found in results]
    names = list(dict.fromkeys(name for column in columns for name in column))
    lines = [["", *(theatre.plan.database for theatre, _ in results)]]
    lines.extend([name, *(str(column.get(name, "-")) for column in columns)] for name in names)
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    shown = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    return "\n".join([shown[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *shown[1:]])


def _column(theatre: Theatre, found: Judgement) -> dict[str, object]:
    diary = theatre.diary
    server = sink_faults(theatre)
    return {
        "emails committed": sum(found.statuses.values()),
        "messages at the server": found.messages,
        **{f"fault: {what}": count for what, count in sorted(diary.faults.items())},
        "fault: by the SMTP server": sum(server.values()) - server["slow at dot"],
        **{f"ended {status}": count for status, count in sorted(found.statuses.items())},
        "**lost**": len(found.lost),
        "**stuck**": len(found.stuck),
        "**promises broken**": len(found.broken),
        **{f"second copy: {why}": count for why, count in sorted(found.duplicated.items())},
        "most messages not on record at a kill": f"{found.most_per_kill} (of {theatre.plan.connections} connections)",
        "rows free after kill -9, median / max (kills)": _times(recoveries(diary.kills, "freed", clean=True)),
        "rows claimed by others after kill -9": _times(recoveries(diary.kills, "recovery", clean=True)),
        "the same, all kills, whatever else was broken": _times(recoveries(diary.kills, "recovery", clean=False)),
        "database back to the next result, median / max": _times(sorted(diary.returns)),
        "slowest write of the application": f"{diary.slowest_write:.2f} s",
        "lease_lost in the logs": log_facts(theatre).lease_lost,
    }
