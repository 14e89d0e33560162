"""Fixtures for the passes' tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def networks() -> ModuleType:
    """tests/networks.py: tiny networks, one for each way that channels are tied."""
    path = Path(__file__).resolve().parents[1] / "networks.py"
    spec = importlib.util.spec_from_file_location("tiny_networks", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
