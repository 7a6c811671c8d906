"""The picture of a result: how fast each contender of T1 to T3 was, beside the target. Made from the JSON alone."""

from pathlib import Path
from typing import Any

DRAINS = ("T1", "T2", "T3")
OURS, OTHERS, TARGET = "#2563eb", "#9ca3af", "#dc2626"


def draw(document: dict[str, Any], path: Path) -> None:
    """As SVG. Needs the extra `bench`."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    found = {name: target for name, target in document["targets"].items() if name in DRAINS}
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "outbox", "font.size": 9})
    figure, panels = plt.subplots(len(found), 1, figsize=(8, 1.9 * len(found)), squeeze=False, layout="constrained")
    for panel, (name, target) in zip(panels[:, 0], found.items(), strict=True):
        _panel(panel, name, target)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)


def _panel(panel: Any, name: str, target: dict[str, Any]) -> None:
    # A colon divides the contender from what else was measured of it.
    bars = [bar for bar in target["figures"] if bar["unit"] == "emails/s" and ":" not in bar["name"]]
    bars.sort(key=lambda bar: bar["median"])
    values = [bar["median"] for bar in bars]
    spread = [[bar["median"] - bar["min"] for bar in bars], [bar["max"] - bar["median"] for bar in bars]]
    colours = [OURS if bar["name"].startswith("outbox") else OTHERS for bar in bars]
    panel.barh([bar["name"] for bar in bars], values, xerr=spread, color=colours, ecolor="#374151", capsize=2)
    bound = target["checks"][0]["target"] * next(bar["median"] for bar in bars if "uvloop" in bar["name"])
    panel.axvline(bound, color=TARGET, linestyle="--", linewidth=1)
    panel.set_title(f"{name}: {target['title']}", loc="left", fontsize=9)
    panel.set_xlabel("emails/s; whiskers: slowest and fastest run; dashed: the target")
    panel.spines[["top", "right"]].set_visible(False)
