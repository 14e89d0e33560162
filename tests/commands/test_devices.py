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
    first, second, *emulated = shown.out.splitlines()
    assert first.startswith("local ")
    assert first.endswith("(ready)")
    assert second.endswith("(not made: edgewright devices make tflite-runtime)")
    assert [line.partition(" ")[0] for line in emulated] == ["qemu-cortex-a53", "qemu-cortex-a72", "qemu-cortex-a76"]
    for line in emulated:
        assert line.endswith(f"edgewright devices make {line.partition(' ')[0]})")
    document = json.loads(edgewright("devices", "--json").out)
    assert [(each["name"], each["ready"]) for each in document["devices"][:2]] == [
        ("local", True),
        ("tflite-runtime", False),
    ]


def test_an_unknown_device_can_not_be_made(edgewright: Program) -> None:
    shown = edgewright("devices", "make", "board")
    assert shown.code == 2
    assert "expected one of local, tflite-runtime, qemu-cortex-a53" in shown.err
