from __future__ import annotations

import importlib.util

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
