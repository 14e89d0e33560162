from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from edgewright.devices.local import AgentSession, LocalDevice
from edgewright.ir.errors import StepError


def is_running(process_id: int) -> bool:
    return Path(f"/proc/{process_id}").exists()


def test_leaving_the_session_ends_the_process_and_removes_its_files() -> None:
    with LocalDevice().start() as session:
        assert session.call("identity")["python"]
        session.send({"x": np.zeros(3, np.float32)})
        process_id, scratch = session.process_id, session.scratch
        assert is_running(process_id)
        assert scratch.is_dir()
    assert not is_running(process_id)
    assert not scratch.exists()


def test_a_refused_request_does_not_keep_the_process() -> None:
    session = LocalDevice().start()
    with session, pytest.raises(StepError):
        session.call("fly")
    assert not is_running(session.process_id)


def test_a_killed_agent_is_an_error_that_names_the_signal() -> None:
    with LocalDevice().start() as session:
        session.call("identity")
        os.kill(session.process_id, signal.SIGKILL)
        for _ in range(2):
            with pytest.raises(StepError, match=r"died during 'identity' \(signal SIGKILL\)"):
                session.call("identity")


def test_an_agent_that_ends_by_itself_leaves_its_last_words() -> None:
    ends = "import sys; sys.stdin.readline(); sys.stderr.write('no such device'); sys.exit(3)"
    with (
        AgentSession((sys.executable, "-c", ends)) as session,
        pytest.raises(StepError, match=r"(?s)exit code 3.*no such device"),
    ):
        session.call("identity")


def test_silence_ends_the_agent_when_the_time_is_up() -> None:
    with AgentSession((sys.executable, "-c", "import time; time.sleep(60)")) as session:
        start = time.monotonic()
        with pytest.raises(StepError, match=r"did not answer 'identity' within 0\.2 s"):
            session.call("identity", timeout_seconds=0.2)
        assert time.monotonic() - start < 10
        with pytest.raises(StepError, match="SIGKILL"):
            session.call("identity")


def test_an_interpreter_that_is_not_there_is_named() -> None:
    with pytest.raises(StepError, match=r"could not be started \(/no/such/python\): No such file"):
        LocalDevice(python="/no/such/python").start()


def test_the_agent_ends_when_its_host_does() -> None:
    host = (
        "import sys; from edgewright.devices.local import LocalDevice; session = LocalDevice().start();"
        "session.call('identity'); print(session.process_id, flush=True); import os; os._exit(0)"
    )
    import subprocess

    process_id = int(subprocess.run([sys.executable, "-c", host], capture_output=True, text=True, check=True).stdout)
    deadline = time.monotonic() + 10
    while is_running(process_id) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(process_id)


def test_two_agents_answer_in_turns() -> None:
    with LocalDevice().start() as first, LocalDevice().start() as second:
        assert first.process_id != second.process_id
        for _ in range(3):
            assert first.call("identity")["cpu"] == second.call("identity")["cpu"]
