"""learn-rounding: the artifact holds the integers that were learned, and answers better for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from edgewright.ir.errors import InputError
from edgewright.ir.facts import QUANTIZED, ROUNDING_LEARNED
from edgewright.ir.state import InputSpec, ModelState
from edgewright.passes import ALL, manager
from edgewright.passes.contract import Pass, Skip
from edgewright.passes.insert_quantization import InsertQuantization
from edgewright.passes.learn_rounding import LearnRounding
from edgewright.pipeline.planning import plan
from edgewright.recipe.schema import Recipe
from edgewright.runtimes.onnxruntime import OnnxEmitter
from edgewright.targets import load_target
from torch import Tensor, nn

SHAPE = (3, 16, 16)
SPECS = (InputSpec("image", (None, *SHAPE)),)
LEARN = {"samples": 64, "iterations": 150, "batch_size": 16, "learning_rate": 0.02}


def images(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def build(
    make_recipe: Callable[..., Recipe], make_context: Any, carry_out: Callable[..., ModelState]
) -> Callable[..., ModelState]:
    """build(network, target, last, **quantize): the state after the plan's steps, those after `last` left out."""

    def run(
        network: nn.Module, target: str = "x86-avx2", last: str = "", scratch: Path | None = None, **quantize: Any
    ) -> ModelState:
        recipe = make_recipe(compress={"quantize": {"calibration": {"samples": 64}, **quantize}})
        steps: list[Pass] = []
        for planned in plan(recipe, load_target(target)).steps:
            steps.append(planned.step)
            if planned.step.name == last:
                break
        context = make_context(calibration=(images(64), torch.arange(64) % 10))
        return carry_out(network, *steps, specs=SPECS, context=context)

    return run


def error(state: ModelState, network: nn.Module) -> float:
    given = images(64, seed=9)
    with torch.no_grad():
        return float((state.callable_module()(given) - network(given)).square().mean())


@pytest.mark.parametrize(("kind", "target"), [("Plain", "x86-avx2"), ("Residual", "arm64-cortex-a72")])
def test_four_bits_answer_better_than_rounded_to_nearest(
    kind: str, target: str, networks: ModuleType, build: Callable[..., ModelState]
) -> None:
    network = networks.random(getattr(networks, kind))
    bits = {"weights": {"bits": 4}, "allow_float": True}
    nearest = build(network, target, **bits)
    learned = build(network, target, **bits, rounding=LEARN)
    assert error(learned, network) < error(nearest, network)
    (record,) = (record for record in learned.history if "learn-rounding" in record.step)
    assert "are not rounded to the nearest integer" in record.notes[0]


def test_the_artifact_holds_what_was_learned(
    networks: ModuleType, build: Callable[..., ModelState], tmp_path: Path
) -> None:
    import onnxruntime

    network = networks.random(networks.Plain)
    learned = build(network, last="learn-rounding", weights={"bits": 4}, rounding=LEARN)
    assert ROUNDING_LEARNED in learned.facts
    state = build(network, weights={"bits": 4}, rounding=LEARN)
    assert {ROUNDING_LEARNED, QUANTIZED} <= state.facts
    scales = learned.attachments["weight_scales"]
    stored = [values for values in state.exported_program().state_dict.values() if values.dtype == torch.int8]
    for name, values in learned.exported_program().state_dict.items():
        if name in scales:
            along = torch.tensor(scales[name]).reshape(-1, *[1] * (values.dim() - 1))
            integers = (values / along).round().to(torch.int8)
            assert any(torch.equal(integers, found) for found in stored)
            assert int(integers.abs().max()) <= 7
    emitted = OnnxEmitter().emit(state, load_target("x86-avx2"), tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / emitted.main, providers=["CPUExecutionProvider"])
    given = images(16, seed=3)
    (found,) = session.run(None, {"image": given.numpy()})
    step = state.attachments["quantization"]["output_steps"][0]
    off = np.abs(found - state.callable_module()(given).detach().numpy()) / step
    assert float((off <= 1).mean()) == 1.0


def test_the_state_before_stays_as_it_was(networks: ModuleType, build: Callable[..., ModelState]) -> None:
    network = networks.random(networks.Plain)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    build(network, weights={"bits": 4}, rounding=LEARN)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_layers_that_stay_float_are_not_touched(networks: ModuleType, build: Callable[..., ModelState]) -> None:
    network = networks.random(networks.Plain)
    name = next(name for name, part in network.named_modules() if isinstance(part, nn.Conv2d))
    state = build(network, last="learn-rounding", weights={"bits": 4}, rounding=LEARN, keep_float=[name])
    assert f"{name}.weight" not in state.attachments["learned_rounding"]
    with pytest.raises(InputError, match=r"compress\.quantize\.keep_float"):
        build(network, rounding=LEARN, keep_float=["nowhere"])


def test_it_stands_between_calibration_and_the_nodes(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe(compress={"quantize": {"rounding": "adaround"}})
    names = [planned.step.name for planned in plan(recipe, load_target("x86-avx2")).steps]
    assert names == ["export", "fold-batchnorm", "calibrate", "learn-rounding", "insert-quantization"]
    assert LearnRounding.for_target(load_target("x86-avx2"), make_recipe(compress={"quantize": {}})) is None


def test_bits_that_a_target_lacks_are_skipped_and_fewer_are_remarked(make_recipe: Callable[..., Recipe]) -> None:
    target = load_target("x86-avx2")
    many = make_recipe(compress={"quantize": {"weights": {"bits": 8}}})
    assert isinstance(found := InsertQuantization.for_target(target, many), Skip)
    assert "at most 7 bits" in str(found)
    few = manager.plan(
        make_recipe(compress={"quantize": {"weights": {"bits": 4}}}), target, ALL, "onnxruntime", OnnxEmitter.needs
    )
    assert any("weights of 4 bits lie in int8" in remark for remark in few.remarks)
