"""All targets by name, in the order in which they are measured and shown."""

from collections.abc import Callable

from benchmarks import crowds, inserts, latency, memory, pollers, starts, throughput
from benchmarks.measure import Result
from benchmarks.workbench import Workbench

TARGETS: dict[str, Callable[[Workbench], Result]] = {
    "T1": throughput.literal,
    "T2": throughput.templates,
    "T3": throughput.far,
    "T4": latency.latency,
    "T5": crowds.crowded,
    "T6": crowds.snapshot,
    "T7": memory.memory,
    "T8": inserts.inserts,
    "T9": pollers.pollers,
    "T10": starts.status,
}
