"""What becomes of the figures."""

from benchmarks.measure import Check, Figure, interleaved, ratio
from benchmarks.processes import ROOT
from benchmarks.report import page, publish

MACHINE = {
    "date": "2026-11-25 12:00:00+00:00",
    "commit": "abc",
    "cores": 2,
    "processor": "one",
    "system": "Linux",
    "python": "3.11",
    "databases": {"SQLite": "3.40"},
    "libraries": {"uvloop": "0.23"},
}


def document(*checks):
    found = {"title": "A question", "how": "In this way.", "checks": [c.as_json() for c in checks], "figures": []}
    return {"command": "python -m benchmarks", "machine": MACHINE, "minutes": 12.3, "targets": {"T1": found}}


def test_contenders_take_turns():
    order = []
    contenders = {name: lambda name=name: order.append(name) for name in "ABC"}
    assert interleaved(contenders, 2) == {"A": [None, None], "B": [None, None], "C": [None, None]}
    assert order == list("ABCABC")


def test_a_ratio_is_of_the_same_round():
    found = ratio("ours / theirs", [10.0, 5.0, 12.0], [5.0, 2.5, 4.0])
    assert (found.value, min(found.samples), max(found.samples)) == (2.0, 2.0, 3.0)


def test_a_check_goes_by_the_median():
    figure = Figure("", "x", (0.1, 1.0, 7.0))
    assert Check(figure, 1.0, at_least=True).met
    assert not Check(figure, 1.1, at_least=True).met
    assert Check(figure, 1.0, at_least=False).met
    assert not Check(figure, 0.9, at_least=False).met


def test_a_target_that_is_missed_is_told_too():
    said = page(document(Check(Figure("ours / theirs", "x", (0.7, 0.8, 0.9)), 1.0, at_least=True)))
    assert "| T1 | ours / theirs | ≥ 1.00 x | 0.80 x | 0.70 … 0.90 | **no** |" in said


def test_publishing_replaces_the_last_run_and_nothing_else(tmp_path):
    path = tmp_path / "benchmarks.md"
    path.write_text((ROOT / "docs" / "benchmarks.md").read_text())
    head = path.read_text().partition("<!--")[0]
    publish(document(Check(Figure("first run", "x", (1.0,)), 1.0, at_least=True)), path)
    publish(document(Check(Figure("second run", "x", (1.0,)), 1.0, at_least=True)), path)
    assert path.read_text().startswith(head)
    assert "second run" in path.read_text()
    assert "first run" not in path.read_text()
    assert path.read_text().count("<!--") == 2
