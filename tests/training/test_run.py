"""A run in several processes: the samples of each step are all there once, and the weights are those of one process."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.accelerator import Accelerator
from edgewright.ir.errors import InputError, StepError
from edgewright.recipe.datasets import Data
from edgewright.training.held_out import parts_of
from edgewright.training.loop import TrainingResult, train
from edgewright.training.losses import loss_for
from edgewright.training.objective import HardLabels
from edgewright.training.processes import Group
from edgewright.training.run import Run
from edgewright.training.schedule import TrainingOptions
from torch import Tensor, nn

OPTIONS = TrainingOptions(epochs=3, batch_size=16, learning_rate=0.02)
Weights = Mapping[str, Tensor]


class Points:
    """Points (8,) around four corners; `is_noisy`: read with noise from two global generators."""

    def __init__(self, count: int = 91, is_noisy: bool = False, fuse: int = 10**9) -> None:
        generator = torch.Generator().manual_seed(0)
        self.labels = torch.randint(0, 4, (count,), generator=generator)
        corners = torch.randn(4, 8, generator=generator)
        self.points = corners[self.labels] + 0.7 * torch.randn(count, 8, generator=generator)
        self.is_noisy, self.fuse = is_noisy, fuse

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.fuse -= 1
        if self.fuse < 0:
            raise OSError("the disk is gone")
        noise = 0.1 * torch.randn(8) + random.gauss(0, 0.1) if self.is_noisy else 0
        return self.points[index] + noise, self.labels[index]


def plain() -> nn.Module:
    """Draws nothing and keeps no statistics."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 4)).eval()


def drawing() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.2), nn.Linear(12, 4)).eval()


@pytest.fixture
def trained(make_data: Callable[..., Data], listener: Any, tmp_path: Path) -> Callable[..., Any]:
    """trained(module, options, dataset, scratch="..."): the result, and the weights that the module then has."""

    def run(
        module: nn.Module, options: TrainingOptions, dataset: Any = None, scratch: str = "scratch", **more: Any
    ) -> tuple[TrainingResult, Weights]:
        data = make_data(train=dataset or Points())
        given = {"seed": 0, "scratch": tmp_path / scratch, "progress": listener, **more}
        return train(module, data, "classification", options, **given), module.state_dict()

    return run


def same(found: Weights, expected: Weights) -> bool:
    return all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_every_sample_of_a_step_is_in_one_process(make_data: Callable[..., Data]) -> None:
    def run(rank: int, size: int) -> Run:
        found = Run(
            plain(),
            *parts_of(make_data(train=Points()).split("train"), 0),
            HardLabels(loss_for("classification")),
            OPTIONS,
            0,
            (),
        )
        found.group = Group(rank, size)
        return found

    whole = list(run(0, 1)._batches(0, 6))
    for size in (2, 3, 9):
        parts = [list(run(rank, size)._batches(0, 6)) for rank in range(size)]
        for step, (batch, samples, count) in enumerate(whole):
            own = [part[step] for part in parts]
            assert [place for _, places, _ in own for place in places] == samples
            assert {each for _, _, each in own} == {count}
            inputs = torch.cat([found.inputs[0] for found, _, _ in own if found is not None])
            assert batch is not None
            assert torch.equal(inputs, batch.inputs[0])
            assert all(found is None or len(found.labels) > 1 for found, _, _ in own)


def test_two_processes_come_to_the_weights_of_one_that_takes_two_parts(trained: Any) -> None:
    """To the bit: the sum of two gradients is the same in either order; and they judge the same samples."""
    one = trained(plain(), replace(OPTIONS, parts=2))
    two = trained(plain(), replace(OPTIONS, processes=2))
    assert two[0] == one[0]
    assert same(two[1], one[1])
    assert one[0].loss_after < one[0].loss_before


@pytest.mark.parametrize("more", [{}, {"average": 0.9, "parts": 2}, {"optimizer": "sgd", "precision": "bfloat16"}])
def test_the_same_seed_gives_the_same_weights_also_after_an_interruption(more: dict[str, Any], trained: Any) -> None:
    options = replace(OPTIONS, processes=2, **more)
    expected = trained(drawing(), options, Points(is_noisy=True), "whole")
    for fuse in (60, 130):
        with pytest.raises(InputError, match="the disk is gone"):
            trained(drawing(), options, Points(is_noisy=True, fuse=fuse), f"{fuse}")
        found = trained(drawing(), options, Points(is_noisy=True), f"{fuse}")
        assert found[0] == expected[0]
        assert same(found[1], expected[1])
    assert expected[0].loss_after < expected[0].loss_before


def test_a_finished_run_starts_no_process(trained: Any, listener: Any) -> None:
    options = replace(OPTIONS, processes=2)
    expected = trained(plain(), options)
    assert listener.units == {"recover": 18}
    again = trained(plain(), options, Points(fuse=1))  # the fixture's own read, and no more
    assert again[0] == expected[0]
    assert same(again[1], expected[1])
    assert listener.units == {"recover": 18}


def test_time_and_zeros_hold_in_all_processes(trained: Any) -> None:
    module = plain()
    with torch.no_grad():
        module[0].weight[::2] = 0
    options = replace(OPTIONS, epochs=10**5, processes=2, minutes=0.02)
    result, weights = trained(module, options, masked=("0.weight",))
    assert result.out_of_time
    assert result.best_epoch > 0
    assert bool((weights["0.weight"][::2] == 0).all())
    assert bool((weights["0.weight"][1::2] != 0).all())


def test_shared_weights_are_shared_in_all_processes(trained: Any) -> None:
    module = plain()
    with torch.no_grad():
        module[0].weight.copy_(module[0].weight.sign())
    one = trained(copy.deepcopy(module), replace(OPTIONS, parts=2), shared=("0.weight",))
    two = trained(copy.deepcopy(module), replace(OPTIONS, processes=2), shared=("0.weight",))
    assert len(one[1]["0.weight"].unique()) == 2
    assert one[0].loss_after < one[0].loss_before
    assert same(two[1], one[1])


def test_a_loss_that_stops_being_finite_leaves_the_best_weights(trained: Any) -> None:
    module = plain()
    before = copy.deepcopy(module.state_dict())
    options = TrainingOptions(5, "sgd", batch_size=16, learning_rate=1e30, warmup=0.0, processes=2)
    with pytest.raises(StepError, match=r"training: the loss is (nan|inf) at step [2-9] of 30"):
        trained(module, options)
    assert same(module.state_dict(), before)
    assert not module.training


class Moved(nn.Linear):
    """Writes down where it is moved to."""

    def to(self, *arguments: Any, **more: Any) -> Any:
        self.places = [*getattr(self, "places", []), *arguments]
        return super().to(*arguments, **more)


def test_a_network_goes_to_the_device_for_each_of_its_trainings(trained: Any) -> None:
    module = Moved(8, 4)
    for scratch in ("first", "second"):
        module.places: list[Any] = []  # type: ignore[misc]
        trained(module, OPTIONS, scratch=scratch)
        *before, _home = module.places
        assert Accelerator().device in before


ON_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


@ON_A_GPU
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_gpu_trains_in_every_precision_and_hands_the_network_back(precision: Any, trained: Any) -> None:
    options = replace(OPTIONS, precision=precision)
    first, weights = trained(drawing(), options, scratch="first")
    assert first.loss_after < first.loss_before
    assert {tensor.device.type for tensor in weights.values()} == {"cpu"}
    with pytest.raises(InputError, match="the disk is gone"):
        trained(drawing(), options, Points(fuse=130), "second")
    second, again = trained(drawing(), options, scratch="second")
    assert second == first
    assert same(again, weights)


@ON_A_GPU
def test_a_network_is_trained_on_a_gpu_again_and_again(trained: Any) -> None:
    module = drawing()
    for scratch in ("first", "second"):
        result, weights = trained(module, OPTIONS, scratch=scratch)
        assert result.epochs_run == OPTIONS.epochs
        assert {tensor.device.type for tensor in weights.values()} == {"cpu"}


@ON_A_GPU
def test_on_a_gpu_one_process_trains(trained: Any) -> None:
    with pytest.raises(InputError, match="processes: expected 1, got 2 on cuda, which only one process trains on"):
        trained(plain(), replace(OPTIONS, processes=2))
