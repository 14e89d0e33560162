"""prune-elements: the smallest weights are zero, and stay so through training, folding and quantization."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from edgewright.ir.errors import InputError, StepError
from edgewright.ir.facts import ELEMENTS_PRUNED, QUANTIZED, RECOVERED, SPARSE_2_4
from edgewright.ir.sparsity import sparse_weights
from edgewright.ir.state import InputSpec, ModelState, load, save
from edgewright.ir.zeros import pruned_weights
from edgewright.passes.calibrate import Calibrate
from edgewright.passes.export import Export
from edgewright.passes.fold_batchnorm import FoldBatchnorm
from edgewright.passes.insert_quantization import InsertQuantization
from edgewright.passes.prune_elements import PruneElements
from edgewright.passes.recover import Recover
from edgewright.passes.sparsify_2_4 import SparsifyTwoFour
from edgewright.passes.text import from_text, to_text
from edgewright.passes.train_quantized import TrainQuantized
from edgewright.recipe.schema import Recipe
from edgewright.targets import Target, load_target
from edgewright.training.schedule import TrainingOptions
from torch import Tensor, nn

FOUR = (InputSpec("x", (None, 2)),)


def samples(count: int = 64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, 16, 16, generator=generator), torch.arange(count) % 4


def two_layers() -> nn.Module:
    """Weights (0.1, 0.2, 0.3, 0.4) before (1, 2, 3, 4)."""
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with torch.no_grad():
        module.get_parameter("0.weight").copy_(torch.tensor([[0.1, -0.2], [0.3, -0.4]]))
        module.get_parameter("1.weight").copy_(torch.tensor([[-1.0, 2.0], [-3.0, 4.0]]))
    return module


@pytest.mark.parametrize(
    ("step", "first", "second"),
    [
        (PruneElements(weights=0.5), [[0, 0], [0, 0]], [[-1, 2], [-3, 4]]),
        (PruneElements(weights=0.25), [[0, 0], [0.3, -0.4]], [[-1, 2], [-3, 4]]),
        (PruneElements(weights=0.5, scope="per-layer"), [[0, 0], [0.3, -0.4]], [[0, 0], [-3, 4]]),
        (PruneElements(weights=0.5, keep=("0",)), [[0.1, -0.2], [0.3, -0.4]], [[0, 0], [-3, 4]]),
        (PruneElements(threshold=0.35), [[0, 0], [0, -0.4]], [[-1, 2], [-3, 4]]),
    ],
)
def test_the_smallest_are_zero_and_the_others_as_they_were(
    step: PruneElements, first: Any, second: Any, carry_out: Callable[..., ModelState]
) -> None:
    before = two_layers()
    module = carry_out(before, step, specs=FOUR).torch_module()
    assert torch.equal(module.get_parameter("0.weight"), torch.tensor(first))
    assert torch.equal(module.get_parameter("1.weight"), torch.tensor(second).float())
    assert torch.equal(module.get_parameter("0.bias"), before.get_parameter("0.bias"))
    assert int((before.get_parameter("0.weight") == 0).sum()) == 0


def test_what_was_done_is_said(carry_out: Callable[..., ModelState]) -> None:
    notes = carry_out(two_layers(), PruneElements(weights=0.25), specs=FOUR).history[-1].notes
    assert notes == (
        "25.0% of 8 weights are zero",
        "0.weight: 50.0% of 4 weights are zero",
        "1.weight: 0.0% of 4 weights are zero",
    )


def test_equal_weights_go_to_the_very_number(carry_out: Callable[..., ModelState]) -> None:
    module = nn.Sequential(nn.Linear(10, 10))
    nn.init.constant_(module.get_parameter("0.weight"), 0.5)
    state = carry_out(module, PruneElements(weights=0.3), specs=(InputSpec("x", (None, 10)),))
    assert int((state.torch_module().get_parameter("0.weight") == 0).sum()) == 30


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_zeros_hold_between_steps_and_in_recovery(
    optimizer: Any, networks: Any, carry_out: Callable[..., ModelState], make_context: Any
) -> None:
    context = make_context(train=samples())
    options = TrainingOptions(1.0, optimizer=optimizer, learning_rate=0.01, weight_decay=0.1, batch_size=16)
    step = PruneElements(weights=0.8, steps=2, schedule="cubic", recover=options)
    pruned = carry_out(networks.random(networks.Residual), step, context=context)
    notes = pruned.history[-1].notes
    assert notes[0].startswith("training after step 1: loss ")
    assert notes[1].startswith("80.0% of ")
    state = carry_out(pruned, Recover(**vars(options)), context=context)
    assert {ELEMENTS_PRUNED, RECOVERED} <= state.facts
    before, after = pruned_weights(pruned), pruned_weights(state)
    assert before.keys() == after.keys()
    for name, weight in after.items():
        assert torch.equal(weight == 0, before[name] == 0)
        assert not torch.equal(weight, before[name])


def test_a_step_that_costs_too_much_is_taken_back(
    networks: Any, carry_out: Callable[..., ModelState], make_context: Any, listener: Any
) -> None:
    """Of two classes that a mean tells apart nothing is left once nearly all weights are gone."""
    images = torch.randn(200, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(200) % 2
    images += labels.reshape(-1, 1, 1, 1) * 2.0 - 1.0
    context = make_context(train=(images, labels))
    options = Recover(epochs=4.0, learning_rate=0.01, batch_size=16)
    trained = carry_out(networks.random(networks.Plain), options, context=context)
    step = PruneElements(weights=0.999, steps=2, most_loss=5.0)
    state = carry_out(trained, step, context=context)
    kept, taken_back, share = state.history[-1].notes[:3]
    assert kept.startswith("step 1 of 2 (50.0% of ")
    assert taken_back.startswith("step 2 of 2 (99.9% of ")
    assert "is taken back: held-out top-1 " in taken_back
    assert share.startswith("50.0% of ")
    assert any("pruning ends with what the steps before it took" in warning for warning in listener.warnings)


@pytest.mark.parametrize("mode", ["static", "qat"])
def test_stored_int8_weights_have_the_zeros_and_the_state_comes_back(
    mode: str, networks: Any, carry_out: Callable[..., ModelState], make_context: Any, make_recipe: Any, tmp_path: Path
) -> None:
    train = {"train": {"epochs": 1, "batch_size": 16}} if mode == "qat" else {}
    recipe = make_recipe(compress={"quantize": {"mode": mode, "calibration": {"samples": 64}, **train}})
    target = load_target("x86-avx512-vnni")
    kinds: list[Any] = [Calibrate, *([TrainQuantized] if mode == "qat" else []), InsertQuantization]
    quantize = [kind.for_target(target, recipe) for kind in kinds]
    context = make_context(train=samples(), calibration=samples())
    pruned = carry_out(networks.random(networks.Residual), PruneElements(weights=0.7))
    state = carry_out(pruned, Export(), FoldBatchnorm(), *quantize, context=context)
    assert {ELEMENTS_PRUNED, QUANTIZED} <= state.facts
    before, after = pruned_weights(pruned), pruned_weights(state)
    assert before.keys() == after.keys()
    for name, weight in after.items():
        assert weight.dtype == torch.int8
        assert bool((weight[before[name] == 0] == 0).all())
    (tmp_path / "state").mkdir()
    save(state, tmp_path / "state")
    again = load(tmp_path / "state", lambda: networks.Residual())
    assert ELEMENTS_PRUNED in again.facts
    assert all(torch.equal(weight, after[name]) for name, weight in pruned_weights(again).items())


def test_after_two_in_four_both_patterns_hold(networks: Any, carry_out: Callable[..., ModelState]) -> None:
    state = carry_out(networks.random(networks.Residual), SparsifyTwoFour(), PruneElements(weights=0.75))
    assert {SPARSE_2_4, ELEMENTS_PRUNED} <= state.facts
    zeros = [int((weight == 0).sum()) for weight in sparse_weights(state).values()]
    assert sum(zeros) > sum(weight.numel() for weight in sparse_weights(state).values()) / 2


def test_weights_that_compress(networks: Any, carry_out: Callable[..., ModelState]) -> None:
    def packed(state: ModelState) -> int:
        return len(gzip.compress(b"".join(w.detach().numpy().tobytes() for w in pruned_weights(state).values())))

    dense, sparse = (carry_out(networks.random(networks.Residual), PruneElements(weights=part)) for part in (1e-6, 0.8))
    assert packed(sparse) < packed(dense) / 2


def test_recurrent_layers_lose_weights_too(carry_out: Callable[..., ModelState]) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells = nn.LSTM(4, 8, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            outputs: Tensor = self.cells(x)[0]
            return outputs

    state = carry_out(Recurrent(), PruneElements(weights=0.5), specs=(InputSpec("x", (None, 3, 4)),))
    assert set(pruned_weights(state)) == {"cells.weight_ih_l0", "cells.weight_hh_l0"}


def test_an_unknown_module_to_keep_and_a_network_without_weights_are_refused(
    carry_out: Callable[..., ModelState],
) -> None:
    with pytest.raises(InputError, match=r"compress\.prune\.keep: expected names of modules of the network"):
        carry_out(two_layers(), PruneElements(weights=0.5, keep=("2",)), specs=FOUR)
    with pytest.raises(StepError, match="prune-elements: no layer with weights is left to prune"):
        carry_out(two_layers(), PruneElements(weights=0.5, keep=("0", "1")), specs=FOUR)


@pytest.mark.parametrize(
    "step",
    [
        PruneElements(weights=0.5),
        PruneElements(threshold=0.01, scope="per-layer", keep=("a.0", "b")),
        PruneElements(weights=0.9, steps=3, schedule="cubic", recover=TrainingOptions(0.5), most_loss=1.0),
    ],
)
def test_the_text_form_round_trips(step: PruneElements) -> None:
    assert from_text(to_text(step), (PruneElements,)) == step


def test_the_train_split_is_read_where_steps_train_or_are_judged() -> None:
    assert PruneElements(weights=0.5).reads == frozenset()
    assert PruneElements(weights=0.5, most_loss=1.0).reads == {"train"}
    assert PruneElements(weights=0.5, steps=2, recover=TrainingOptions(1.0)).reads == {"train"}


def test_every_target_gets_it_and_says_what_it_is_good_for(make_recipe: Callable[..., Recipe]) -> None:
    prune = {"granularity": "element", "weights": 0.8, "steps": 2, "schedule": "cubic", "recover_epochs": 1.0}
    recipe = make_recipe(compress={"prune": {**prune, "most_loss": 2.0}, "recover": {"optimizer": "sgd"}})
    target = load_target("x86-avx2")
    step = PruneElements.for_target(target, recipe)
    assert step == PruneElements(
        weights=0.8, steps=2, schedule="cubic", recover=TrainingOptions(1.0, optimizer="sgd"), most_loss=2.0
    )
    assert "onnxruntime's kernels compute with zeros as with any number" in step.remark(target)
    assert target.pruning is not None
    pays = target.model_copy(update={"pruning": target.pruning.model_copy(update={"skips_zeros": True})})
    assert isinstance(pays, Target)
    assert step.remark(pays).startswith("kernels of x86-avx2 skip zeros")
    assert PruneElements.for_target(target, make_recipe(compress={"prune": {"flops": 0.5}})) is None
    assert PruneElements.for_target(target, make_recipe(compress={})) is None
