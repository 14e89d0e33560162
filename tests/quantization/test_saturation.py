"""Saturation of x86 kernels without VNNI: by hand, and against onnxruntime on a CPU that has none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import pytest
import torch
from edgewright.devices.machine import this_machine
from edgewright.ir.state import InputSpec, ModelState
from edgewright.passes import ALL, manager
from edgewright.passes.contract import Context
from edgewright.quantization.saturation import pairs_that_can_saturate, saturating, saturating_product
from edgewright.recipe.schema import Recipe
from edgewright.runtimes.onnxruntime import OnnxEmitter
from edgewright.targets import load_target

IMAGES = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 4 - 1


def test_products_by_hand() -> None:
    values = torch.tensor([[255.0, 255, 10, 20, 7]])
    weights = torch.tensor([[127.0, 127, 1, -2, 3], [-127, -127, 0, 0, 0], [127, -127, 1, 1, 1]])
    # 2 * 255 * 127 = 64770 saturates at 32767, and below at -32768; opposite products do not.
    assert saturating_product(values, weights).tolist() == [[32767 + 10 - 40 + 21, -32768, 10 + 20 + 7]]


def test_pairs_that_can_saturate_are_those_that_do_for_the_worst_inputs() -> None:
    assert pairs_that_can_saturate(np.array([[127, 127, 64, 64, 100]], np.int8)) == 1
    assert pairs_that_can_saturate(np.array([[64, 65, -64, -65, 127, -127]], np.int8)) == 2
    assert pairs_that_can_saturate(np.full((4, 8), 63, np.int8)) == 0


@pytest.fixture
def built(
    make_recipe: Callable[..., Recipe], make_context: Callable[..., Context], tmp_path: Path
) -> Callable[..., tuple[ModelState, Path]]:
    """built(network, target): the quantized state, and the file that was emitted of it."""

    def build(network: torch.nn.Module, name: str) -> tuple[ModelState, Path]:
        target, emitter = load_target(name), OnnxEmitter()
        recipe = make_recipe(compress={"quantize": {"calibration": {"samples": 64}}})
        state = ModelState((InputSpec("image", (None, 3, 16, 16)),), network.eval())
        context = make_context(calibration=(IMAGES, torch.arange(64) % 10))
        for planned in manager.plan(recipe, target, ALL, emitter.name, emitter.needs).steps:
            state = manager.run(planned.step, state, context)
        return state, tmp_path / emitter.emit(state, target, tmp_path).main

    return build


def far(found: np.ndarray, wanted: np.ndarray, state: ModelState) -> float:
    """The share of outputs that are more than a step apart."""
    return float((np.abs(found - wanted) / state.attachments["quantization"]["output_steps"][0] > 1.5).mean())


@pytest.mark.skipif(
    "avx2" not in this_machine().flags or any("vnni" in flag for flag in this_machine().flags),
    reason="this CPU's int8 products do not saturate: it is no x86 with AVX2, or it has VNNI",
)
@pytest.mark.parametrize("kind", ["Plain", "Residual", "Flattened"])
def test_it_is_what_onnxruntime_computes_without_vnni(
    kind: str, networks: ModuleType, built: Callable[..., tuple[ModelState, Path]]
) -> None:
    state, file = built(networks.random(getattr(networks, kind)), "x86-avx512-vnni")
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": IMAGES.numpy()})
    with torch.no_grad():
        exact = state.callable_module()(IMAGES).numpy()
    assert far(found, exact, state) > 0.02
    assert far(found, saturating(state)(IMAGES).numpy(), state) < 0.005


def test_seven_bits_do_not_saturate(networks: ModuleType, built: Callable[..., tuple[ModelState, Path]]) -> None:
    state, _ = built(networks.random(networks.Residual), "x86-avx2")
    with torch.no_grad():
        exact = state.callable_module()(IMAGES).numpy()
    assert far(saturating(state)(IMAGES).numpy(), exact, state) < 0.005
