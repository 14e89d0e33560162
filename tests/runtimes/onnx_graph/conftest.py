"""Small quantized ONNX models, for the tests of what reads them."""

from __future__ import annotations

from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def quantized_models(onnx_models: ModuleType) -> ModuleType:
    """quantized_models.py beside this file: one function for each form that a model may have."""
    return onnx_models
