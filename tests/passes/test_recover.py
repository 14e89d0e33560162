"""recover: a better network with the same structure, what the history says of it, and when it refuses."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from edgewright.ir.errors import InputError, StepError
from edgewright.ir.facts import RECOVERED
from edgewright.ir.state import InputSpec, ModelState
from edgewright.passes.recover import Recover
from edgewright.passes.text import from_text, to_text
from edgewright.recipe.schema import Recipe
from edgewright.targets import Target
from torch import Tensor, nn

SPECS = (InputSpec("image", (None, 3, 16, 16)),)
Samples = tuple[Tensor, Tensor]


def samples(count: int = 100, is_learnable: bool = True) -> Samples:
    """Images of four classes, one for each quarter that may be bright; or classes that mean nothing."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (count,), generator=generator)
    images = torch.randn(count, 3, 16, 16, generator=generator)
    for image, label in zip(images, labels, strict=True):
        image[:, 8 * (label // 2) :, 8 * (label % 2) :][:, :8, :8] += 2
    return images, labels if is_learnable else torch.randint(0, 4, (count,), generator=generator)


def recover(**options: Any) -> Recover:
    """A short run; `options` as in the recipe."""
    return Recover(**{
        "epochs": 2.0, "optimizer": "adamw", "learning_rate": 0.003, "weight_decay": 1e-4, "batch_size": 16,
        "warmup": 0.1, "patience": None, **options,
    })  # fmt: skip


def losses(note: str) -> tuple[float, float]:
    """The losses before and after, out of the pass's first note."""
    words = note.split()
    return float(words[words.index("before,") - 1]), float(words[words.index("after") - 1])


def test_the_network_gets_better_keeps_its_structure_and_leaves_the_state_it_came_from(
    networks: ModuleType, carry_out: Callable[..., ModelState], make_context: Any, listener: Any
) -> None:
    network = networks.random(networks.Flattened)
    before = copy.deepcopy(network.state_dict())
    state = carry_out(network, recover(), context=make_context(train=samples()))
    after = state.torch_module()
    assert RECOVERED in state.facts
    assert not after.training
    assert {name: tensor.shape for name, tensor in after.state_dict().items()} == {
        name: tensor.shape for name, tensor in before.items()
    }
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    (note,) = state.history[-1].notes
    assert note.startswith("2 epochs; loss on held-out training samples ")
    was, is_now = losses(note)
    assert is_now < was
    images, labels = samples()
    right = [(module(images).argmax(1) == labels).float().mean() for module in (network, after)]
    assert right[1] > right[0]
    assert listener.warnings == []
    assert listener.units == {"recover": 2 * 6}


def test_the_seed_decides_the_weights(
    networks: ModuleType, carry_out: Callable[..., ModelState], make_context: Any, tmp_path: Any
) -> None:
    def weights(name: str, seed: int) -> list[Tensor]:
        context = make_context(seed=seed, scratch=tmp_path / name, train=samples())
        module = carry_out(networks.random(networks.Flattened), recover(epochs=0.5), context=context).torch_module()
        return list(module.state_dict().values())

    first, second, other = weights("first", 0), weights("second", 0), weights("other", 1)
    assert all(map(torch.equal, first, second))
    assert not all(map(torch.equal, first, other))


class Faulty:
    """The samples, of which so many can be read and then none."""

    def __init__(self, reads: int) -> None:
        self.images, self.labels = samples()
        self.reads = reads

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.reads -= 1
        if self.reads < 0:
            raise OSError("the disk is gone")
        return self.images[index], self.labels[index]


def test_a_step_that_was_interrupted_goes_on_in_the_same_scratch_folder(
    networks: ModuleType, carry_out: Callable[..., ModelState], make_context: Any, tmp_path: Any, listener: Any
) -> None:
    def run(name: str, train: Any) -> list[Tensor]:
        context = make_context(scratch=tmp_path / name, train=train)
        module = carry_out(networks.random(networks.Flattened), recover(), context=context).torch_module()
        return list(module.state_dict().values())

    expected = run("whole", samples())
    with pytest.raises(InputError, match="the disk is gone"):
        run("cut", Faulty(reads=140))
    listener.units.clear()
    rest = Faulty(reads=130)  # less than a whole run reads
    assert all(map(torch.equal, run("cut", rest), expected))


def test_what_was_kept_and_why_it_ended_is_in_the_history(
    networks: ModuleType, carry_out: Callable[..., ModelState], make_context: Any
) -> None:
    context = make_context(train=samples(is_learnable=False))
    step = recover(epochs=20.0, learning_rate=0.01, patience=2)
    notes = carry_out(networks.random(networks.Flattened), step, context=context).history[-1].notes
    assert len(notes) == 3
    assert notes[1].startswith("kept the weights after epoch ")
    assert notes[2] == "stopped early: patience ran out"


def test_a_run_that_betters_nothing_is_warned_about(
    networks: ModuleType, carry_out: Callable[..., ModelState], make_context: Any, listener: Any
) -> None:
    network = networks.random(networks.Flattened)
    trained = carry_out(network, recover(epochs=3.0), context=make_context(train=samples())).torch_module()
    step = recover(epochs=0.5, optimizer="sgd", learning_rate=10.0)
    state = carry_out(trained, step, context=make_context(train=samples()))
    assert listener.warnings == ["recover: no epoch bettered the weights it began with; a lower learning rate may"]
    assert all(map(torch.equal, state.torch_module().state_dict().values(), trained.state_dict().values()))


def test_a_loss_that_stops_being_finite_ends_the_step_by_name(make_context: Any) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(768, 16), nn.ReLU(), nn.Linear(16, 4))
    step = recover(optimizer="sgd", learning_rate=1e30)
    with pytest.raises(StepError, match=r"training: the loss is (nan|inf) at step \d of 12 \(learning rate "):
        step.run(ModelState(SPECS, network.eval()), make_context(train=samples()))


def test_without_a_train_split_there_is_nothing_to_recover_from(networks: ModuleType, make_context: Any) -> None:
    state = ModelState(SPECS, networks.random(networks.Flattened))
    with pytest.raises(InputError, match=r"train: expected a split 'train', got only calibration"):
        recover().run(state, make_context(calibration=samples()))


def test_the_pass_is_what_the_recipe_says(target: Target, make_recipe: Callable[..., Recipe]) -> None:
    asked = {"epochs": 3, "optimizer": "sgd", "learning_rate": 0.1, "batch_size": 8, "warmup": 0.0, "patience": 2}
    step = Recover.for_target(target, make_recipe(compress={"recover": asked}))
    assert step == recover(**{**asked, "epochs": 3.0})
    assert from_text(to_text(step), (Recover,)) == step
    assert Recover.for_target(target, make_recipe()) is None
