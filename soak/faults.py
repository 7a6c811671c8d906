"""What the sink does wrong, and how often. Chosen by seed and by what is said, so that a run can be repeated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to go wrong. Without `reply` the right reply is given, after `delay`."""

    name: str
    reply: str | None = None
    delay: float = 0.0  # seconds before the answer
    drop: bool = False  # the connection breaks instead of an answer; at the dot the message was taken


Table = Mapping[str, Sequence[tuple[float, Fault]]]
"""For each stage: how probable which fault is."""

DOT_TIMEOUT = 3.0
"""Seconds that the daemons of the soak wait for the answer to the final dot; a late reply is later than that."""

QUIET: Table = {}

STORMY: Table = {
    "greeting": ((0.02, Fault("421 at the greeting", "421 4.3.2 too busy")), (0.01, Fault("drop", drop=True))),
    "mail": (
        (0.003, Fault("4xx at MAIL", "451 4.3.0 try again")),
        (0.001, Fault("421 at MAIL", "421 4.3.2 closing")),
        (0.003, Fault("drop", drop=True)),
        (0.02, Fault("slow", delay=0.3)),
    ),
    "rcpt": (
        (0.012, Fault("4xx at RCPT", "450 4.2.1 greylisted")),
        (0.003, Fault("5xx at RCPT", "550 5.1.1 no such user")),
        (0.003, Fault("drop", drop=True)),
        (0.02, Fault("slow", delay=0.3)),
    ),
    "data": (
        (0.004, Fault("4xx at DATA", "451 4.3.0 try again")),
        (0.001, Fault("5xx at DATA", "554 5.7.1 not from you")),
        (0.003, Fault("drop", drop=True)),
    ),
    "dot": (
        (0.008, Fault("4xx at the dot", "451 4.3.0 queue is full")),
        (0.002, Fault("5xx at the dot", "554 5.6.0 not liked")),
        (0.004, Fault("reply lost", drop=True)),
        (0.002, Fault("reply late", delay=DOT_TIMEOUT + 0.5)),
        (0.02, Fault("slow", delay=1.5)),
    ),
}

ALWAYS = {"-refused": Fault("5xx always", "550 5.1.1 never"), "-busy": Fault("4xx always", "450 4.2.0 never now")}
"""Faults of recipients whose local part ends so."""


def choose(table: Table, stage: str, key: str) -> Fault | None:
    """The fault that `table` has for `key`, the seed included, at `stage`; None: no fault."""
    if not table.get(stage):
        return None
    chance = Random(f"{stage}/{key}").random()  # the same key, the same chance
    for probability, fault in table[stage]:
        if chance < probability:
            return fault
        chance -= probability
    return None


def always(recipient: str) -> Fault | None:
    """The fault that a recipient's name asks for."""
    local = recipient.partition("@")[0]
    return next((fault for end, fault in ALWAYS.items() if local.endswith(end)), None)
