"""All targets by name, in the order in which they are measured and shown."""

from collections.abc import Callable

from benchmarks import throughput
from benchmarks.measure import Result
from benchmarks.workbench import Workbench

TARGETS: dict[str, Callable[[Workbench], Result]] = {
    "T1": throughput.literal,
    "T2": throughput.templates,
    "T3": throughput.far,
}
