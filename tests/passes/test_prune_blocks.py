"""prune-blocks: whole blocks are gone, and the network can be built again without them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from edgewright.channels.costs import count_macs, count_parameters
from edgewright.ir.errors import InputError, StepError
from edgewright.ir.facts import BLOCKS_PRUNED, QUANTIZED
from edgewright.ir.state import InputSpec, ModelState, load, save
from edgewright.passes.calibrate import Calibrate
from edgewright.passes.export import Export
from edgewright.passes.fold_batchnorm import FoldBatchnorm
from edgewright.passes.insert_quantization import InsertQuantization
from edgewright.passes.prune_blocks import PruneBlocks
from edgewright.passes.prune_channels import PruneChannels
from edgewright.passes.text import from_text, to_text
from edgewright.recipe.schema import Recipe
from edgewright.targets import load_target
from edgewright.training.schedule import TrainingOptions
from torch import Tensor, nn

IMAGE = (torch.zeros(1, 3, 16, 16),)


class Block(nn.Module):
    """ReLU(x + strength * two convolutions)."""

    def __init__(self, width: int, inner: int, strength: float) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(width, inner, 3, padding=1), nn.BatchNorm2d(inner)
        self.second = nn.Conv2d(inner, width, 3, padding=1, bias=False)
        with torch.no_grad():
            self.second.weight.mul_(strength)

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.second(self.norm(self.first(x)).relu())).relu()


class Network(nn.Module):
    """Four blocks that do more or less to their input; the first and the last are three times as wide inside."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.Sequential(Block(8, 24, 0.1), Block(8, 8, 3.0), Block(8, 8, 0.01), Block(8, 24, 4.0))
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.blocks(self.stem(x).relu()).mean((2, 3)))
        return outputs


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return Network().eval()


@pytest.fixture
def answers(network: nn.Module) -> tuple[Tensor, Tensor]:
    """Images with what the whole network says of them as labels: what changes its answers costs."""
    images = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        network.get_parameter("head.weight").mul_(100.0)
        network.get_parameter("head.bias").sub_(network(images).mean(0))  # so that no class is the answer to all
        return images, network(images).argmax(1)


def gone(state: ModelState) -> list[str]:
    return [edit.module for edit in state.edits if edit.bypassed]


def test_the_blocks_that_do_least_go_and_the_rest_is_as_it_was(
    network: nn.Module, answers: Any, carry_out: Callable[..., ModelState], make_context: Any
) -> None:
    before = copy.deepcopy(network.state_dict())
    state = carry_out(network, PruneBlocks(amount=2.0), context=make_context(calibration=answers))
    assert set(gone(state)) == {"blocks.2", "blocks.0"}
    assert BLOCKS_PRUNED in state.facts
    module = state.torch_module()
    with torch.no_grad():
        blocks: Any = network.get_submodule("blocks")
        inner = blocks[3](blocks[1](network.get_submodule("stem")(answers[0]).relu()))
        assert torch.equal(module(answers[0]), network.get_submodule("head")(inner.mean((2, 3))))
    assert {name for name in before if name not in module.state_dict()} == {
        name for name in before if name.startswith(("blocks.0.", "blocks.2."))
    }
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    share = 1 - count_macs(module, IMAGE) / count_macs(network, IMAGE)
    assert state.history[-1].notes == (
        f"2 of 4 blocks and {share:.1%} of the multiply-accumulates are gone, asked 2 blocks",
        *(f"gone: {name}" for name in gone(state)),
    )


def test_without_labels_that_a_loss_takes_the_change_of_outputs_counts(
    network: nn.Module, answers: Any, carry_out: Callable[..., ModelState], make_context: Any
) -> None:
    context = make_context("metrics.py:own", calibration=answers)
    assert gone(carry_out(network, PruneBlocks(amount=1.0), context=context)) == ["blocks.2"]


@pytest.mark.parametrize(("measure", "count"), [("flops", count_macs), ("parameters", count_parameters)])
def test_a_part_is_reached_as_nearly_as_blocks_are_large(
    measure: Any, count: Any, network: nn.Module, answers: Any, carry_out: Callable[..., ModelState], make_context: Any
) -> None:
    """The blocks are 3, 1, 1 and 3 eighths of all blocks: of half the network's cost one of each size goes."""
    context = make_context(calibration=answers)
    state = carry_out(network, PruneBlocks(amount=0.47, measure=measure), context=context)
    arguments = (IMAGE,) if measure == "flops" else ()
    reached = 1 - count(state.torch_module(), *arguments) / count(network, *arguments)
    assert set(gone(state)) == {"blocks.0", "blocks.2"}
    assert f"{reached:.1%} of the " in state.history[-1].notes[0]
    assert state.history[-1].notes[0].endswith("asked 47.0%")
    half_a_small_block = 1 / 16
    assert abs(reached - 0.47) < half_a_small_block


def test_the_state_is_stored_and_comes_back_after_channels_went_too(
    network: nn.Module, answers: Any, carry_out: Callable[..., ModelState], make_context: Any, tmp_path: Path
) -> None:
    """Channels before and after: edits of what is gone are gone, and the bypass outlives later edits."""
    context = make_context(calibration=answers)
    steps = (PruneChannels(0.2), PruneBlocks(amount=1.0), PruneChannels(0.2))
    state = carry_out(network, *steps, context=context)
    (name,) = gone(state)
    assert not any(edit.module.startswith(f"{name}.") for edit in state.edits)
    (tmp_path / "state").mkdir()
    save(state, tmp_path / "state")
    again = load(tmp_path / "state", Network)
    assert again.edits == state.edits
    assert torch.equal(again.torch_module()(answers[0]), state.torch_module()(answers[0]))


def test_what_is_left_is_quantized(
    network: nn.Module, answers: Any, carry_out: Callable[..., ModelState], make_context: Any, make_recipe: Any
) -> None:
    recipe = make_recipe(compress={"quantize": {"calibration": {"samples": 32}}})
    quantize = [kind.for_target(load_target("x86-avx2"), recipe) for kind in (Calibrate, InsertQuantization)]
    context = make_context(calibration=answers)
    state = carry_out(network, PruneBlocks(amount=2.0), Export(), FoldBatchnorm(), *quantize, context=context)
    assert {BLOCKS_PRUNED, QUANTIZED} <= state.facts
    convolutions = [node for node in state.exported_program().graph.nodes if "conv2d" in str(node.target)]
    assert len(convolutions) == 1 + 2 * 2


def test_blocks_go_in_steps_with_training_and_a_step_too_many_comes_back(
    network: nn.Module, answers: Any, carry_out: Callable[..., ModelState], make_context: Any, listener: Any
) -> None:
    images, labels = answers[0].repeat(4, 1, 1, 1), answers[1].repeat(4)
    context = make_context(calibration=answers, train=(images, labels))
    options = TrainingOptions(1.0, learning_rate=1e-9, batch_size=32)
    step = PruneBlocks(amount=3.0, steps=3, recover=options, most_loss=10.0)
    assert step.reads == {"calibration", "train"}
    state = carry_out(network, step, context=context)
    notes = state.history[-1].notes
    taken = [note for note in notes if note.startswith("step ")]
    assert [" is kept: " in note for note in taken] == [True] * len(gone(state)) + [False]
    assert taken[-1].startswith(f"step {len(taken)} of 3 ({len(taken)} of 4 blocks gone) is taken back: ")
    assert gone(state)[0] in ("blocks.2", "blocks.0")
    assert len([note for note in notes if note.startswith("gone: ")]) == len(gone(state))
    assert any("pruning ends with what the steps before it took" in warning for warning in listener.warnings)


def test_what_is_kept_stays(
    network: nn.Module, answers: Any, carry_out: Callable[..., ModelState], make_context: Any
) -> None:
    step = PruneBlocks(amount=1.0, keep=("blocks.2",))
    state = carry_out(network, step, context=make_context(calibration=answers))
    assert gone(state) == ["blocks.0"]
    assert state.history[-1].notes[-1] == "left whole: blocks.2: the recipe keeps blocks.2"


def test_more_blocks_than_there_are_and_unknown_names_are_refused(
    network: nn.Module, answers: Any, carry_out: Callable[..., ModelState], make_context: Any
) -> None:
    context = make_context(calibration=answers)
    with pytest.raises(InputError, match=r"blocks: expected at most 4, for there are blocks\.0, .*, got 5"):
        carry_out(network, PruneBlocks(amount=5.0), context=context)
    with pytest.raises(InputError, match=r"keep: expected names of modules of the network; did you mean blocks"):
        carry_out(network, PruneBlocks(amount=1.0, keep=("block",)), context=context)
    with pytest.raises(StepError, match=r"the smallest block is more than 1\.0% of the multiply-accumulates"):
        carry_out(network, PruneBlocks(amount=0.01, measure="flops"), context=context)


def test_a_network_without_blocks_is_refused(carry_out: Callable[..., ModelState], make_context: Any) -> None:
    with pytest.raises(StepError, match="the network has no block that can go: no module with weights gives a tensor"):
        carry_out(nn.Linear(2, 3), PruneBlocks(amount=1.0), specs=(InputSpec("x", (None, 2)),))


def test_layers_of_a_network_that_adds_nothing_are_said_to_be_layers(
    carry_out: Callable[..., ModelState], make_context: Any
) -> None:
    layers = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    context = make_context(calibration=(torch.randn(32, 4), torch.arange(32) % 2))
    state = carry_out(layers, PruneBlocks(amount=1.0), specs=(InputSpec("image", (None, 4)),), context=context)
    assert len(gone(state)) == 1
    assert any(note.endswith("layers were taken out") for note in state.history[-1].notes)


@pytest.mark.parametrize(
    "step",
    [
        PruneBlocks(amount=2.0),
        PruneBlocks(amount=0.3, measure="flops", keep=("a.0",), steps=2, recover=TrainingOptions(0.5), most_loss=1.0),
    ],
)
def test_the_text_form_round_trips(step: PruneBlocks) -> None:
    assert from_text(to_text(step), (PruneBlocks,)) == step


def test_the_recipe_gives_all_fields_on_every_target(make_recipe: Callable[..., Recipe]) -> None:
    target = load_target("arm64-cortex-a72")
    prune = {"granularity": "block", "blocks": 4, "steps": 2, "recover_epochs": 1.0, "keep": ("layer1",)}
    step = PruneBlocks.for_target(target, make_recipe(compress={"prune": {**prune, "most_loss": 2.0}}))
    assert step == PruneBlocks(amount=4.0, steps=2, recover=TrainingOptions(1.0), most_loss=2.0, keep=("layer1",))
    by_flops = PruneBlocks.for_target(target, make_recipe(compress={"prune": {"granularity": "block", "flops": 0.3}}))
    assert by_flops == PruneBlocks(amount=0.3, measure="flops")
    assert PruneBlocks.for_target(target, make_recipe(compress={"prune": {"flops": 0.3}})) is None
    assert PruneBlocks(amount=1.0).reads == {"calibration"}
