"""The benchmarks themselves: that they work and clean up. How fast anything is, is not asked here."""

import json
import os
import signal
import subprocess
import sys
import uuid

import psutil
import pytest

from benchmarks.processes import ROOT
from benchmarks.targets import TARGETS


@pytest.fixture
def mark(monkeypatch):
    """A word in the environment of every process that the benchmarks start."""
    word = uuid.uuid4().hex
    monkeypatch.setenv("BENCHMARK_TEST", word)
    return word


@pytest.fixture
def run(mark, tmp_path):
    """Start `python -m benchmarks …` in a process group of its own; ended with the test."""
    started = []

    def start(*arguments):
        with (tmp_path / "out").open("w") as out:
            process = subprocess.Popen(
                (sys.executable, "-m", "benchmarks", *arguments),
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        with process:  # which waits
            process.terminate()


def processes_with(mark):
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("BENCHMARK_TEST") == mark and process.pid != os.getpid():
                found.append(process)
        except psutil.Error:
            continue  # it has ended, or is somebody else's
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "targets",
    [["T1", "T2", "T3"], ["T4", "T5", "T6"], ["T7", "T8", "T9", "T10"], ["T11", "T12", "T13"]],
    ids="-".join,
)
def test_the_short_run_answers_every_question_and_leaves_no_process_behind(run, mark, tmp_path, targets):
    process = run(*targets, "--quick", "--json", str(tmp_path / "result.json"))
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    document = json.loads((tmp_path / "result.json").read_text())
    assert list(document["targets"]) == targets
    for found in document["targets"].values():
        assert found["checks"]
        assert all(figure["samples"] for figure in (*found["checks"], *found["figures"]))
    assert set(document["machine"]["databases"]) == {"SQLite", "PostgreSQL"}
    assert "| T" in (tmp_path / "out").read_text()
    assert processes_with(mark) == []


def test_every_target_is_part_of_the_short_run():
    assert list(TARGETS) == [f"T{number}" for number in range(1, 14)]


@pytest.mark.timeout(120)
def test_a_profile_names_our_modules(run, tmp_path):
    process = run("T1", "--profile", "--quick", "--database", "sqlite")
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "outbox/" in (tmp_path / "out").read_text()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_no_process_behind(run, mark, number):
    process = run("T4", "--repeat", "1000")
    assert process.stderr.readline() == "T4 …\n"
    os.killpg(process.pid, number)
    process.communicate()
    assert process.returncode != 0
    assert processes_with(mark) == []
