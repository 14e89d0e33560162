from __future__ import annotations

import importlib.util
import re

import pytest
from edgewright.devices.graphics import Graphics
from edgewright.runtimes.tensorrt_build import host
from edgewright.runtimes.tensorrt_build.verdict import LIBRARY


def test_it_finds_the_libraries_that_are_installed() -> None:
    assert (LIBRARY in host.libraries()) == (importlib.util.find_spec(LIBRARY) is not None)


def test_engines_run_where_there_are_a_gpu_and_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Graphics("a card", "8.9")
    for gpus, libraries, can in (((card,), ("tensorrt",), True), ((), ("tensorrt",), False), ((card,), (), False)):
        monkeypatch.setattr(host, "graphics", lambda gpus=gpus: gpus)
        monkeypatch.setattr(host, "libraries", lambda libraries=libraries: libraries)
        assert host.can_run() is can


@pytest.mark.parametrize(
    ("capability", "library", "why"),
    [
        ("9.0", "tensorrt", ""),
        ("9.0", "tensorrt_rtx_bindings", r"TensorRT: TensorRT for RTX runs nothing on a card \(.* 9\.0\)"),
        ("8.7", "tensorrt_rtx", r"TensorRT: .* 8\.7\)"),
        ("7.5", "tensorrt_rtx", ""),
        ("8.9", "tensorrt_rtx_bindings", ""),
        ("12.1", "tensorrt_rtx", ""),
        ("13.0", "tensorrt_rtx", ""),
    ],
)
def test_tensorrt_for_rtx_runs_on_its_own_gpus_alone(
    capability: str, library: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "graphics", lambda: (Graphics("a card", capability),))
    monkeypatch.setattr(host, "libraries", lambda: (library,))
    assert re.fullmatch(why, host.why_not())
    assert host.can_run() is (not why)
