"""Fixtures that every room's tests share."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real networks and data that may lie beside the checkout; skips where it doesn't."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("the shared data folder does not lie beside this checkout")
    return folder


@pytest.fixture(scope="session")
def networks() -> ModuleType:
    """tests/networks.py: tiny networks, one for each way that channels are tied."""
    spec = importlib.util.spec_from_file_location("tiny_networks", ROOT / "tests" / "networks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
