"""Small quantized ONNX models, for the tests of what reads them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def quantized_models() -> ModuleType:
    """quantized_models.py beside this file: one function for each form that a model may have."""
    path = Path(__file__).with_name("quantized_models.py")
    spec = importlib.util.spec_from_file_location("loaded_quantized_models", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
