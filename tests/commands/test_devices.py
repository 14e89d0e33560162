"""`edgewright devices`: the list for people and for programs, and making what can't be made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Program = Callable[..., Any]


def test_devices_are_listed_with_what_is_to_be_done(
    edgewright: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    shown = edgewright("devices")
    assert (shown.code, shown.err) == (0, "")
    first, second = shown.out.splitlines()
    assert first.startswith("local ")
    assert first.endswith("(ready)")
    assert second.endswith("(not made: edgewright devices make tflite-runtime)")
    document = json.loads(edgewright("devices", "--json").out)
    assert [(each["name"], each["ready"]) for each in document["devices"]] == [
        ("local", True),
        ("tflite-runtime", False),
    ]


def test_an_unknown_device_can_not_be_made(edgewright: Program) -> None:
    shown = edgewright("devices", "make", "board")
    assert shown.code == 2
    assert "expected one of local, tflite-runtime, got 'board'" in shown.err
