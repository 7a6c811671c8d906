"""All targets by name, in the order in which they are measured and shown."""

from collections.abc import Callable
from functools import partial

from benchmarks import crowds, inserts, latency, memory, paces, pollers, purges, starts, throughput, urgency
from benchmarks.measure import Result
from benchmarks.workbench import Workbench

TARGETS: dict[str, Callable[[Workbench], Result]] = {
    "T1": partial(throughput.compare, "T1"),
    "T2": partial(throughput.compare, "T2"),
    "T3": partial(throughput.compare, "T3"),
    "T4": latency.latency,
    "T5": crowds.crowded,
    "T6": crowds.snapshot,
    "T7": memory.memory,
    "T8": inserts.inserts,
    "T9": pollers.pollers,
    "T10": starts.status,
    "T11": paces.paces,
    "T12": urgency.urgency,
    "T13": purges.purges,
}
