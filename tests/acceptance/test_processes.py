"""Warm processes stand for cold ones: nobody who runs a command can tell them apart."""

import os
import signal

import pytest

from tests.fixtures.processes import cold, warm

COMMANDS = [
    ["--version"],
    ["status", "--json"],
    ["show", "4711"],
    ["frobnicate"],
    ["run", "--drain", "--log-level", "error"],
]


@pytest.fixture
def env(sqlite_database, smtpd):
    return os.environ | {
        "OUTBOX_DATABASE_URL": sqlite_database,
        "OUTBOX_SMTP_URL": smtpd.url,
        "OUTBOX_SENDER": "Shop <shop@example.org>",
    }


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_a_warm_process_answers_as_a_cold_one(env, command):
    answers = [(await process.communicate(), process.returncode) for process in await started(command, env)]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_warm_process_ends_by_a_signal_as_a_cold_one(env, number):
    for process in (processes := await started(["run"], env)):
        while b" polls " not in await process.stderr.readline():
            pass
        os.kill(process.pid, number)
    assert {await process.wait() for process in processes} == {0 if number == signal.SIGTERM else -number}


async def started(command, env):
    return [await launch(*command, env=env) for launch in (cold, warm)]
