"""quantize-weights: int8 weights, under floats or under what is quantized while it runs."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from edgewright.ir.errors import InputError
from edgewright.ir.facts import QUANTIZED
from edgewright.ir.graph import editable, tensor_of
from edgewright.ir.state import ModelState, load, save
from edgewright.passes.contract import Skip
from edgewright.passes.export import Export
from edgewright.passes.fold_batchnorm import FoldBatchnorm
from edgewright.passes.quantize_weights import QuantizeWeights
from edgewright.passes.text import from_text, to_text
from edgewright.recipe.schema import Recipe
from edgewright.targets import load_target
from torch import nn

TARGET = load_target("arm64-cortex-a72")
MODES = ("dynamic", "weight-only")
Quantized = Callable[..., ModelState]


@pytest.fixture
def quantized(make_recipe: Callable[..., Recipe], carry_out: Callable[..., ModelState]) -> Quantized:
    """quantized(module, mode, keep_float=()): the state after the pass."""

    def run(module: nn.Module, mode: str, **quantize: Any) -> ModelState:
        recipe = make_recipe(compress={"quantize": {"mode": mode, **quantize}})
        return carry_out(module, Export(), FoldBatchnorm(), QuantizeWeights.for_target(TARGET, recipe))

    return run


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["Plain", "Residual", "DepthwiseSeparable", "Attention"])
def test_every_layer_has_int8_weights_and_computes_nearly_the_same(
    kind: str, mode: str, networks: ModuleType, quantized: Quantized
) -> None:
    module = networks.random(getattr(networks, kind)).eval()
    state = quantized(module, mode)
    assert QUANTIZED in state.facts
    summary = state.attachments["stored_weights"]
    layers = [each for each in module.modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    assert (len(summary["layers"]), summary["left_float"]) == (len(layers), {})
    images = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        exact, found = module(images), state.callable_module()(images)
    noise_db = 10 * torch.log10(exact.square().sum() / (exact - found).square().sum())
    assert 25 < noise_db < 80  # eight bits are worth about 50 dB, less what layers add up; and something did change


def test_dynamic_inputs_lie_on_a_grid_of_their_own(networks: ModuleType, quantized: Quantized) -> None:
    state = quantized(networks.random(networks.Plain), "dynamic")
    names = [str(node.target) for node in state.exported_program().graph.nodes]
    layers = len(state.attachments["stored_weights"]["layers"])
    assert sum("choose_qparams" in name for name in names) == layers
    assert sum("quantize_per_tensor.tensor" in name for name in names) == 2 * layers
    plain = quantized(networks.random(networks.Plain), "weight-only")
    assert not any("per_tensor" in str(node.target) for node in plain.exported_program().graph.nodes)


def test_dense_weights_have_one_scale_and_convolutions_one_per_channel(
    networks: ModuleType, quantized: Quantized
) -> None:
    module = editable(quantized(networks.random(networks.Plain), "weight-only").exported_program())
    dequantize = torch.ops.quantized_decomposed.dequantize_per_channel.default
    scales = [tensor_of(module, node.args[1]) for node in module.graph.nodes if node.target is dequantize]
    assert [len(each.unique()) == 1 for each in scales][-1]
    assert all(len(each.unique()) > 1 for each in scales[:-1])


def test_what_the_recipe_keeps_stays_float(networks: ModuleType, quantized: Quantized) -> None:
    summary = quantized(networks.random(networks.Plain), "dynamic", keep_float=["second"]).attachments["stored_weights"]
    assert summary["left_float"] == {"second.0": "the recipe keeps it in float"}
    with pytest.raises(InputError, match=r"the name of a module of the network, got 'secnd'"):
        quantized(networks.random(networks.Plain), "dynamic", keep_float=["secnd"])
    with pytest.raises(InputError, match="a layer whose weights can be int8, got a network without such layers"):
        quantized(nn.Sequential(nn.ReLU(), nn.AvgPool2d(2)), "dynamic")


@pytest.mark.parametrize("mode", MODES)
def test_a_target_that_lacks_the_mode_gets_a_skip_that_says_what_to_ask_for(
    mode: str, make_recipe: Callable[..., Recipe]
) -> None:
    skip = QuantizeWeights.for_target(load_target("nvidia-rtx-ada"), make_recipe(compress={"quantize": {"mode": mode}}))
    assert isinstance(skip, Skip)
    assert "mode: static" in skip.why
    assert QuantizeWeights.for_target(TARGET, make_recipe(compress={"quantize": {}})) is None
    assert QuantizeWeights.for_target(TARGET, make_recipe()) is None


def test_the_state_survives_the_disk_and_the_pass_its_text(
    networks: ModuleType, quantized: Quantized, make_recipe: Callable[..., Recipe], tmp_path: Any
) -> None:
    state = quantized(networks.random(networks.Plain), "dynamic")
    save(state, tmp_path)
    back = load(tmp_path, nn.Identity)
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(state.callable_module()(images), back.callable_module()(images))
    step = QuantizeWeights.for_target(TARGET, make_recipe(compress={"quantize": {"mode": "dynamic"}}))
    assert isinstance(step, QuantizeWeights)
    assert from_text(to_text(step), (QuantizeWeights,)) == step


def test_four_bits_lie_on_the_grids_of_their_groups(
    make_recipe: Callable[..., Recipe], carry_out: Callable[..., ModelState]
) -> None:
    asked = {"mode": "weight-only", "weights": {"bits": 4, "group": 16}}
    step = QuantizeWeights.for_target(load_target("x86-avx2"), make_recipe(compress={"quantize": asked}))
    network = nn.Sequential(nn.Flatten(), nn.Linear(768, 10))
    before = network[1].weight.detach().clone()
    state = carry_out(network, Export(), FoldBatchnorm(), step)
    assert QUANTIZED in state.facts
    parts = state.exported_program().state_dict["1.weight"].detach().reshape(10, 48, 16)
    steps = before.reshape(10, 48, 16).abs().amax(-1, keepdim=True) / 7
    integers = parts / steps
    assert torch.allclose(integers, integers.round(), atol=1e-4)
    assert (integers.abs().amax(-1) > 6.99).all()
    assert ((parts - before.reshape(10, 48, 16)).abs() <= steps * 0.5001).all()
    assert torch.equal(network[1].weight, before)
    assert state.history[-1].notes[0] == "1 of 1 layers with weights of 4 bits in groups of 16"


@pytest.mark.parametrize(
    ("target", "group", "reason"),
    [
        ("arm64-cortex-a72", 32, "runtime reads none"),
        ("x86-avx2", 48, "groups have 16 or 32 or 64 or 128 or 256 inputs, not 48"),
    ],
)
def test_groups_that_a_target_has_not_are_skipped(
    target: str, group: int, reason: str, make_recipe: Callable[..., Recipe]
) -> None:
    asked = {"mode": "weight-only", "weights": {"bits": 4, "group": group}}
    skip = QuantizeWeights.for_target(load_target(target), make_recipe(compress={"quantize": asked}))
    assert isinstance(skip, Skip)
    assert reason in skip.why


def test_groups_that_do_not_divide_are_refused(
    make_recipe: Callable[..., Recipe], carry_out: Callable[..., ModelState]
) -> None:
    asked = {"mode": "weight-only", "weights": {"bits": 4, "group": 128}}
    step = QuantizeWeights.for_target(load_target("x86-avx2"), make_recipe(compress={"quantize": asked}))
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(980, 10))
    with pytest.raises(InputError, match=r"a size that divides the 980 inputs of 2 .* got 128"):
        carry_out(network, Export(), FoldBatchnorm(), step)
