"""The protocol: what is asked is answered, line by line; what can't be understood is answered too."""

from __future__ import annotations

import json

from edgewright.devices.agent.__main__ import answer
from edgewright.devices.agent.commands import COMMANDS, Agent


def test_a_request_is_answered_with_its_result() -> None:
    found = answer(Agent(), json.dumps({"command": "identity"}))
    assert set(found) == {"result"}
    assert found["result"]["runtime"] is None


def test_what_is_no_command_is_refused_with_those_that_there_are() -> None:
    assert answer(Agent(), json.dumps({"command": "_loaded"})) == {
        "error": f"command: expected one of {', '.join(COMMANDS)}, got '_loaded'"
    }
