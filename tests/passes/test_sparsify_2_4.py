"""sparsify-2-4: half of the weights are zero, and stay so through training, folding, quantization and rounding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from edgewright.ir.errors import StepError
from edgewright.ir.facts import CHANNELS_PRUNED, QUANTIZED, RECOVERED, SPARSE_2_4
from edgewright.ir.sparsity import is_two_in_four, sparse_weights
from edgewright.ir.state import ModelState, load, save
from edgewright.passes import manager
from edgewright.passes.calibrate import Calibrate
from edgewright.passes.contract import Skip
from edgewright.passes.convert_to_float16 import ConvertToFloat16
from edgewright.passes.export import Export
from edgewright.passes.fold_batchnorm import FoldBatchnorm
from edgewright.passes.insert_quantization import InsertQuantization
from edgewright.passes.prune_channels import PruneChannels
from edgewright.passes.recover import Recover
from edgewright.passes.sparsify_2_4 import SparsifyTwoFour
from edgewright.recipe.schema import Recipe
from edgewright.targets import load_target
from torch import Tensor, nn
from torch.nn.utils import parametrizations

ADA = load_target("nvidia-rtx-ada")


def samples(count: int = 64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, 16, 16, generator=generator), torch.arange(count) % 4


def recover(**options: Any) -> Recover:
    return Recover(**{
        "epochs": 1.0, "optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1, "batch_size": 16,
        "warmup": 0.0, "patience": None, **options,
    })  # fmt: skip


def test_layers_that_fit_are_sparse_and_the_others_say_why(
    networks: ModuleType, carry_out: Callable[..., ModelState]
) -> None:
    network = networks.random(networks.Residual)
    state = carry_out(network, SparsifyTwoFour())
    assert SPARSE_2_4 in state.facts
    weights = sparse_weights(state)
    assert {"stem.0.weight", "head.weight"}.isdisjoint(weights)
    assert {"first.0.0.weight", "second.1.0.weight", "shortcut.weight"} <= set(weights)
    for name, weight in weights.items():
        assert is_two_in_four(weight)
        assert (weight == 0).float().mean() == 0.5
        assert torch.equal(weight[weight != 0], network.get_parameter(name)[weight != 0])
    notes = state.history[-1].notes
    assert notes[0] == f"{len(weights)} of {len(weights) + 2} layers are 2:4 sparse"
    assert "stem.0 stays dense: 3 inputs, not a multiple of 16" in notes
    assert "head stays dense: 10 outputs, not a multiple of 8" in notes
    assert not is_two_in_four(network.get_parameter("shortcut.weight"))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_zeros_hold_while_the_network_is_trained(
    optimizer: str, networks: ModuleType, carry_out: Callable[..., ModelState], make_context: Any
) -> None:
    network = networks.random(networks.Residual)
    context = make_context(train=samples())
    sparse = carry_out(network, SparsifyTwoFour())
    state = carry_out(sparse, recover(optimizer=optimizer), context=context)
    assert {SPARSE_2_4, RECOVERED} <= state.facts
    before, after = sparse_weights(sparse), sparse_weights(state)
    assert before.keys() == after.keys()
    for name, weight in after.items():
        assert torch.equal(weight == 0, before[name] == 0)
        assert not torch.equal(weight, before[name])
    assert not torch.equal(
        state.torch_module().get_parameter("head.weight"), sparse.torch_module().get_parameter("head.weight")
    )


def test_a_training_that_holds_no_zeros_is_found_out(
    networks: ModuleType, carry_out: Callable[..., ModelState], make_context: Any
) -> None:
    """What the manager asks of every pass: the fact that it says it keeps has to be there afterwards."""

    class Forgetful(Recover):
        name = "forgetful"  # type: ignore[misc]

        def run(self, state: ModelState, context: Any) -> ModelState:
            without = replace(state, attachments={})
            return replace(super().run(without, context), attachments=state.attachments)

    sparse = carry_out(networks.random(networks.Residual), SparsifyTwoFour())
    forgetful = Forgetful(**vars(recover()))
    with pytest.raises(StepError, match="forgetful: says that it leaves '2:4 sparse', but the model does not show it"):
        manager.run(forgetful, sparse, make_context(train=samples()))


def test_stored_int8_weights_are_sparse_after_everything(
    networks: ModuleType, carry_out: Callable[..., ModelState], make_context: Any, make_recipe: Any, tmp_path: Any
) -> None:
    recipe = make_recipe(compress={"quantize": {"calibration": {"samples": 64}}})
    quantize = [step.for_target(ADA, recipe) for step in (Calibrate, InsertQuantization)]
    context = make_context(train=samples(), calibration=samples())
    network = networks.random(networks.Residual)
    steps = (SparsifyTwoFour(), recover(), Export(), FoldBatchnorm(), *quantize)
    state = carry_out(network, *steps, context=context)
    assert {SPARSE_2_4, RECOVERED, QUANTIZED} <= state.facts
    weights = sparse_weights(state)
    assert len(weights) == len(state.attachments["sparse_2_4"])
    for weight in weights.values():
        assert weight.dtype == torch.int8
        outputs, inputs = weight.shape[:2]
        zeros = (weight.reshape(outputs, inputs // 4, 4, -1) == 0).sum(2)
        assert int(zeros.min()) >= 2
        assert int(weight.abs().max()) == 127
    (tmp_path / "state").mkdir()
    save(state, tmp_path / "state")
    again = load(tmp_path / "state", lambda: network)
    assert all(torch.equal(weight, weights[name]) for name, weight in sparse_weights(again).items())


def test_float16_weights_are_sparse_too(networks: ModuleType, carry_out: Callable[..., ModelState]) -> None:
    steps = (SparsifyTwoFour(), Export(), FoldBatchnorm(), ConvertToFloat16("float16"))
    assert SPARSE_2_4 in carry_out(networks.random(networks.Residual), *steps).facts


def test_pruned_channels_end_it(networks: ModuleType, carry_out: Callable[..., ModelState]) -> None:
    state = carry_out(networks.random(networks.Residual), SparsifyTwoFour(), PruneChannels(amount=0.3))
    assert CHANNELS_PRUNED in state.facts
    assert SPARSE_2_4 not in state.facts


def test_groups_and_computed_weights_stay_dense_and_a_network_of_them_is_refused(
    carry_out: Callable[..., ModelState],
) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.grouped = nn.Conv2d(3, 48, 3, groups=3)
            self.computed = parametrizations.weight_norm(nn.Conv2d(48, 16, 1))
            self.last = nn.Conv2d(16, 12, 1)

        def forward(self, x: Tensor) -> Tensor:
            outputs: Tensor = self.last(self.computed(self.grouped(x)))
            return outputs

    reasons = "grouped: it has 3 groups; computed: its weights are computed, not stored; last: 12 outputs"
    with pytest.raises(StepError, match=f"sparsify-2-4: no layer can be 2:4 sparse: {reasons}"):
        carry_out(Odd(), SparsifyTwoFour())


@pytest.mark.parametrize(("target", "why"), [
    ("x86-avx2", "onnxruntime has no sparse kernels on x86-avx2"),
    ("arm64-cortex-a72", "tflite has no sparse kernels on arm64-cortex-a72"),
    ("nvidia-t4", "tensor cores of compute capability 7.5 do not skip zeros"),
])  # fmt: skip
def test_where_nothing_uses_the_zeros_it_is_skipped(target: str, why: str, make_recipe: Callable[..., Recipe]) -> None:
    skip = SparsifyTwoFour.for_target(load_target(target), make_recipe(compress={"sparsify": "2:4"}))
    assert skip == Skip("2:4 sparsity", f"{why}, so it would not be faster; ask for compress.prune")


def test_it_is_made_where_it_is_asked_for_and_used(make_recipe: Callable[..., Recipe]) -> None:
    assert SparsifyTwoFour.for_target(ADA, make_recipe(compress={"sparsify": "2:4"})) == SparsifyTwoFour()
    assert SparsifyTwoFour.for_target(ADA, make_recipe(compress={})) is None
