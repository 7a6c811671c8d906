"""The result, for people: Markdown, and its place in docs/benchmarks.md. It is made from the JSON alone."""

from pathlib import Path
from typing import Any

BEGIN, END = "<!-- made by `make bench` from here … -->", "<!-- … to here -->"


def page(document: dict[str, Any]) -> str:
    """All targets in one table, then the figures of each."""
    parts = [_machine(document), _targets(document["targets"])]
    parts.extend(_figures(target, found) for target, found in document["targets"].items())
    return "\n\n".join(parts)


def publish(document: dict[str, Any], path: Path) -> None:
    """Put the page between the markers of the file."""
    head, _, rest = path.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    path.write_text(f"{head}{BEGIN}\n\n{page(document)}\n\n{END}{tail}")


def _machine(document: dict[str, Any]) -> str:
    machine = document["machine"]
    software = ", ".join(f"{name} {version}" for name, version in (machine["databases"] | machine["libraries"]).items())
    return (
        f"{machine['date'][:10]}, `{document['command']}`, commit {machine['commit']}, on {machine['cores']} cores "
        f"({machine['processor']}, {machine['system']}), Python {machine['python']}, {software}. "
        f"{document['minutes']:.0f} minutes."
    )


def _targets(targets: dict[str, Any]) -> str:
    rows = [
        [target, check["name"], _bound(check), _number(check["median"], check["unit"]), _spread(check), _met(check)]
        for target, found in targets.items()
        for check in found["checks"]
    ]
    return table(["", "what", "target", "median", "min … max", "met"], rows)


def _figures(target: str, found: dict[str, Any]) -> str:
    rows = [
        [figure["name"], _number(figure["median"], figure["unit"]), _spread(figure), str(len(figure["samples"]))]
        for figure in found["figures"]
    ]
    return f"### {target}: {found['title']}\n\n{found['how']}\n\n" + table(["", "median", "min … max", "runs"], rows)


def _bound(check: dict[str, Any]) -> str:
    return f"{'≥' if check['at_least'] else '≤'} {_number(check['target'], check['unit'])}"


def _met(check: dict[str, Any]) -> str:
    return "yes" if check["met"] else "**no**"


def _spread(figure: dict[str, Any]) -> str:
    return f"{_plain(figure['min'])} … {_plain(figure['max'])}"


def _number(value: float, unit: str) -> str:
    return f"{_plain(value)} {unit}"


def _plain(value: float) -> str:
    """With three digits that mean something."""
    for limit, digits in ((100, 0), (10, 1)):
        if abs(value) >= limit:
            return f"{value:,.{digits}f}"
    return f"{value:.2f}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    shown = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines]
    return "\n".join([shown[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *shown[1:]])
