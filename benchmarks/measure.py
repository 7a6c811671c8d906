"""What a measurement gives: figures with their spread, and checks of them against the targets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Figure:
    """A quantity, measured several times."""

    name: str
    unit: str
    samples: tuple[float, ...]

    @property
    def value(self) -> float:
        """The median."""
        return median(self.samples)

    def as_json(self) -> dict[str, Any]:
        """With all samples."""
        spread = {"median": self.value, "min": min(self.samples), "max": max(self.samples)}
        return {"name": self.name, "unit": self.unit, **spread, "samples": self.samples}


@dataclass(frozen=True, slots=True)
class Check:
    """A figure with a target: `bound` at least, or at most."""

    figure: Figure
    bound: float
    at_least: bool

    @property
    def met(self) -> bool:
        """By the median."""
        return self.figure.value >= self.bound if self.at_least else self.figure.value <= self.bound

    def as_json(self) -> dict[str, Any]:
        """With the figure."""
        return {**self.figure.as_json(), "target": self.bound, "at_least": self.at_least, "met": self.met}


@dataclass(frozen=True, slots=True)
class Result:
    """What came out for one target."""

    target: str
    title: str
    how: str
    checks: list[Check]
    figures: list[Figure]

    def as_json(self) -> dict[str, Any]:
        """Everything."""
        return {
            "title": self.title,
            "how": self.how,
            "checks": [check.as_json() for check in self.checks],
            "figures": [figure.as_json() for figure in self.figures],
        }


def interleaved(contenders: Mapping[str, Callable[[], T]], repeat: int) -> dict[str, list[T]]:
    """Each in its turn, so often: what disturbs the machine for a while disturbs all of them."""
    results: dict[str, list[T]] = {name: [] for name in contenders}
    for _ in range(repeat):
        for name, run in contenders.items():
            results[name].append(run())
    return results


def rate(times: Sequence[float]) -> float:
    """In a second, from the first to the last."""
    return (len(times) - 1) / (times[-1] - times[0])


def ratio(name: str, ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """Ours by theirs, of each round, so that a round on a busy machine counts as one."""
    return Figure(name, "x", tuple(our / their for our, their in zip(ours, theirs, strict=True)))
