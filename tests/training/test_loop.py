"""The training loop: what it improves, and that a run which was killed ends with the same bits."""

from __future__ import annotations

import copy
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from edgewright.ir.errors import InputError, StepError
from edgewright.recipe.datasets import Batch, Data
from edgewright.training.loop import TrainingOptions, TrainingResult, train
from torch import Tensor, nn


class Interrupted(Exception):
    """Stands for a kill."""


class Points:
    """Points (8,) of four classes that lie around four corners; read with noise from every global generator.

    `fuse`: how many reads go well, after which `burn` is called.
    """

    def __init__(self, count: int = 90, fuse: int | None = None, burn: Callable[[], None] | None = None) -> None:
        generator = torch.Generator().manual_seed(0)
        self.labels = torch.randint(0, 4, (count,), generator=generator)
        corners = torch.randn(4, 8, generator=generator)
        self.points = corners[self.labels] + 0.7 * torch.randn(count, 8, generator=generator)
        self.fuse, self.burn, self.reads = fuse, burn, 0

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.reads += 1
        if self.fuse is not None and self.burn is not None and self.reads > self.fuse:
            self.burn()
        noise = 0.1 * torch.randn(8) + 0.05 * random.gauss(0, 1) + 0.05 * float(np.random.standard_normal())
        return self.points[index] + noise, self.labels[index]


def unlearnable() -> Points:
    """Labels that have nothing to do with the points, so that a network learns them by heart and gets no better."""
    dataset = Points()
    dataset.labels = dataset.labels[torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))]
    return dataset


def network(seed: int = 0) -> nn.Module:
    """Has running statistics and dropout, whose draws a resumed run must repeat."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.2), nn.Linear(12, 4)).eval()


OPTIONS = TrainingOptions(epochs=3, batch_size=16, learning_rate=0.02)
Weights = Mapping[str, Tensor]


@pytest.fixture
def run(make_data: Callable[..., Data], listener: Any, tmp_path: Path) -> Callable[..., tuple[TrainingResult, Weights]]:
    """run(module, options, dataset, seed, scratch): the result, and the weights that the module then has."""

    def start(
        module: nn.Module | None = None,
        options: TrainingOptions = OPTIONS,
        dataset: Any = None,
        *,
        seed: int = 0,
        scratch: Path = tmp_path / "scratch",
        task: str = "classification",
        objective: Any = None,
    ) -> tuple[TrainingResult, Weights]:
        module = network() if module is None else module
        data = make_data(task, train=Points() if dataset is None else dataset)
        result = train(module, data, task, options, seed=seed, scratch=scratch, progress=listener, objective=objective)
        return result, module.state_dict()

    return start


def same(found: Weights, expected: Weights) -> bool:
    return all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_held_out_loss_gets_better(optimizer: Any, run: Any) -> None:
    module = network()
    result, _ = run(module, TrainingOptions(3, optimizer, batch_size=16, learning_rate=0.02))
    assert result.loss_after < result.loss_before
    assert (result.epochs_run, result.stopped_early) == (3, False)
    assert 0 < result.best_epoch <= 3
    assert not module.training
    assert all(parameter.grad is None for parameter in module.parameters())


def test_the_kept_weights_are_those_of_the_best_loss(run: Any, tmp_path: Path) -> None:
    """A run from the same seed holds out the same samples, and begins by judging the weights that it is given."""
    module = network()
    first, _ = run(module, TrainingOptions(9, batch_size=16, learning_rate=0.1), unlearnable())
    again, _ = run(module, OPTIONS, unlearnable(), scratch=tmp_path / "again")
    assert first.best_epoch < first.epochs_run
    assert again.loss_before == first.loss_after


def test_parts_of_an_epoch_can_be_run(run: Any) -> None:
    result, _ = run(options=TrainingOptions(0.5, batch_size=9))
    assert result.epochs_run == pytest.approx(0.5, abs=1 / 9)


def test_seeds_decide_the_weights(run: Any, tmp_path: Path) -> None:
    _, first = run(scratch=tmp_path / "1")
    _, second = run(scratch=tmp_path / "2")
    _, other = run(seed=1, scratch=tmp_path / "3")
    assert same(first, second)
    assert not same(first, other)


def test_what_was_drawn_before_does_not_matter(run: Any, tmp_path: Path) -> None:
    _, first = run(scratch=tmp_path / "1")
    torch.rand(7), random.random(), np.random.random(3)
    _, second = run(scratch=tmp_path / "2")
    assert same(first, second)


def interrupt() -> None:
    raise Interrupted


@pytest.mark.parametrize(("batch_size", "kills"), [(16, 7), (1, 3)])
def test_a_run_that_is_interrupted_anywhere_goes_on_to_the_same_bits(
    batch_size: int, kills: int, run: Any, tmp_path: Path
) -> None:
    """With one sample a batch an epoch has more steps than one segment."""
    options = TrainingOptions(2, batch_size=batch_size, learning_rate=0.02)
    module = nn.Sequential(nn.Linear(8, 6), nn.Dropout(0.2), nn.Linear(6, 4)) if batch_size == 1 else network()
    dataset = Points(150)
    expected = run(copy.deepcopy(module), options, dataset, scratch=tmp_path / "whole")
    for fuse in range(5, dataset.reads, dataset.reads // kills):
        scratch = tmp_path / f"{fuse}"
        with pytest.raises((Interrupted, InputError)):
            run(copy.deepcopy(module), options, Points(150, fuse, interrupt), scratch=scratch)
        rest = Points(150)
        found = run(copy.deepcopy(module), options, rest, scratch=scratch)
        assert found[0] == expected[0]
        assert same(found[1], expected[1])
        assert rest.reads <= dataset.reads


def test_a_run_that_is_interrupted_again_and_again_gets_there(run: Any, tmp_path: Path) -> None:
    expected = run(scratch=tmp_path / "whole")
    for _ in range(20):
        try:
            found = run(dataset=Points(fuse=100, burn=interrupt))
            break
        except InputError:
            continue
    assert found[0] == expected[0]
    assert same(found[1], expected[1])


CHILD = """
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("tests_of_the_loop", sys.argv[1])
tests = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tests)
tests.train_as_a_child(Path(sys.argv[2]), int(sys.argv[3]))
"""


def train_as_a_child(folder: Path, fuse: int) -> None:
    """Trains in `folder`, and is killed after `fuse` reads; writes the weights where it ends."""
    from edgewright.ir.progress import Silent
    from edgewright.ir.state import InputSpec
    from edgewright.recipe.datasets import DatasetSplit, DataSource
    from edgewright.recipe.user_code import UserFolder

    torch.set_num_threads(1)
    dataset = Points(fuse=fuse, burn=lambda: os.kill(os.getpid(), signal.SIGKILL))
    specs = (InputSpec("point", (None, 8)),)
    split = DatasetSplit("train", dataset, specs, "classification", "data.py", UserFolder(folder, "edgewright_user"))
    module = network()
    data = DataSource({"train": split}, "data.py")
    train(module, data, "classification", OPTIONS, seed=0, scratch=folder / "scratch", progress=Silent())
    torch.save(module.state_dict(), folder / "weights.pt")


@pytest.mark.slow
def test_a_killed_process_is_gone_on_from_by_another(tmp_path: Path) -> None:
    def child(name: str, fuse: int) -> int:
        (tmp_path / name).mkdir(exist_ok=True)
        command = [sys.executable, "-c", CHILD, __file__, str(tmp_path / name), str(fuse)]
        return subprocess.run(command, check=False, timeout=120).returncode

    never = 10**9
    assert child("whole", never) == 0
    assert child("killed", 150) == -signal.SIGKILL
    assert not (tmp_path / "killed" / "weights.pt").exists()
    assert list((tmp_path / "killed" / "scratch").glob("recover-*/step-*"))
    assert child("killed", never) == 0
    whole, killed = (torch.load(tmp_path / name / "weights.pt", weights_only=True) for name in ("whole", "killed"))
    assert same(killed, whole)


def test_a_finished_run_is_not_run_again(run: Any, listener: Any) -> None:
    expected = run()
    dataset = Points()
    found = run(dataset=dataset)
    assert dataset.reads == 1  # the fixture's, which looks what a sample is
    assert found[0] == expected[0]
    assert same(found[1], expected[1])
    assert listener.units == {"recover": 15}  # the bar of the second run starts where the first run ended


def test_other_options_or_weights_start_a_run_of_their_own(run: Any, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    run(scratch=scratch)
    run(options=TrainingOptions(3, batch_size=8, learning_rate=0.02), scratch=scratch)
    run(module=network(seed=1), scratch=scratch)
    run(seed=1, scratch=scratch)
    assert len(list(scratch.iterdir())) == 4


def test_a_damaged_checkpoint_is_said_and_the_run_starts_again(run: Any, listener: Any, tmp_path: Path) -> None:
    expected = run()
    (file,) = (tmp_path / "scratch").glob("recover-*/step-*/weights.safetensors")
    file.write_bytes(b"damaged")
    found = run()
    assert "is damaged and was deleted" in listener.warnings[0]
    assert found[0] == expected[0]
    assert same(found[1], expected[1])


def test_patience_ends_a_run_that_gets_no_better(run: Any) -> None:
    result, _ = run(options=TrainingOptions(30, batch_size=16, learning_rate=0.1, patience=2), dataset=unlearnable())
    assert result.stopped_early
    assert result.epochs_run < 30
    assert result.epochs_run == result.best_epoch + 2


def test_weights_that_no_epoch_bettered_stay_as_they_were(run: Any) -> None:
    module = network()
    run(module, TrainingOptions(4, batch_size=16, learning_rate=0.02))
    before = copy.deepcopy(module.state_dict())
    result, after = run(module, TrainingOptions(1, "sgd", batch_size=16, learning_rate=30.0))
    assert (result.best_epoch, result.loss_after) == (0, result.loss_before)
    assert same(after, before)


def test_a_loss_that_stops_being_finite_names_the_step_and_leaves_the_best_weights(run: Any) -> None:
    module = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 4))
    before = copy.deepcopy(module.state_dict())
    options = TrainingOptions(5, "sgd", batch_size=16, learning_rate=1e30, warmup=0.0)
    with pytest.raises(StepError, match=r"training: the loss is (nan|inf) at step [2-9] of 25 \(learning rate \d.*\)"):
        run(module, options)
    assert same(module.state_dict(), before)
    assert not module.training


def test_no_train_split_is_an_error_that_says_so(make_data: Any, listener: Any, tmp_path: Path) -> None:
    data = make_data(calibration=Points())
    with pytest.raises(InputError, match=r"train: expected a split 'train', got only calibration; return one more"):
        train(network(), data, "classification", OPTIONS, seed=0, scratch=tmp_path, progress=listener)


@pytest.mark.parametrize(("count", "is_enough"), [(9, False), (10, True)])
def test_few_samples_cannot_be_held_out_from(count: int, is_enough: bool, run: Any) -> None:
    if is_enough:
        assert run(dataset=Points(count))[0].epochs_run == 3
        return
    with pytest.raises(InputError, match="data: split 'train': expected at least 10 samples, got 9"):
        run(dataset=Points(count))


def test_frozen_parameters_stay_and_a_frozen_network_is_refused(run: Any) -> None:
    module = network()
    module[0].requires_grad_(False)
    before = copy.deepcopy(module.state_dict())
    _, after = run(module)
    assert torch.equal(after["0.weight"], before["0.weight"])
    assert not torch.equal(after["4.weight"], before["4.weight"])
    with pytest.raises(InputError, match="model: expected parameters that can be trained, got none"):
        run(network().requires_grad_(False))


def test_biases_and_norms_do_not_decay(run: Any) -> None:
    class Idle(nn.Module):
        """Its second half gets gradients of zero, so that only weight decay moves it."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.used, self.idle, self.norm = nn.Linear(8, 4), nn.Linear(8, 4), nn.LayerNorm(4)

        def forward(self, x: Tensor) -> Tensor:
            outputs: Tensor = self.used(x) + 0 * self.norm(self.idle(x))
            return outputs

    module = Idle()
    before = copy.deepcopy(module.state_dict())
    _, after = run(module, TrainingOptions(1, batch_size=16, learning_rate=0.05, weight_decay=0.1))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"used.weight", "used.bias", "idle.weight"}
    assert bool((after["idle.weight"].abs() < before["idle.weight"].abs()).all())


def test_of_several_outputs_the_first_is_trained(run: Any) -> None:
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.body, self.head, self.auxiliary = nn.Linear(8, 12), nn.Linear(12, 4), nn.Linear(12, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = self.body(x).relu()
            return self.head(x), self.auxiliary(x)

    result, _ = run(Auxiliary())
    assert result.loss_after < result.loss_before


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_other_tasks_are_trained(task: str, run: Any) -> None:
    class Other(Points):
        def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
            point, label = super().__getitem__(index)
            return point, torch.eye(4)[label]

    result, _ = run(dataset=Other(), task=task)
    assert result.loss_after < result.loss_before


def test_labels_that_do_not_fit_are_said_before_anything_is_trained(run: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="class indices from 0 to 1"):
        run(nn.Linear(8, 2))
    assert not (tmp_path / "scratch").exists()


def test_the_samples_of_a_step_in_parts_teach_the_same(run: Any, tmp_path: Path) -> None:
    """Without batch statistics and dropout: 24 samples at once, or in five parts of four or five."""

    def weights(parts: int) -> Weights:
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4)).double()
        options = TrainingOptions(2, "sgd", batch_size=24, learning_rate=0.05, parts=parts)
        dataset = Points()
        dataset.points = dataset.points.double()
        dataset.__class__ = Doubles
        found: Weights = run(module, options, dataset, scratch=tmp_path / f"{parts}")[1]
        return found

    whole, parts = weights(1), weights(5)
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor)  # float64, in which only the order of sums differs


class Doubles(Points):
    """Points of double precision, without noise."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.points[index], self.labels[index]


def test_an_average_of_the_weights_is_what_is_kept(run: Any, tmp_path: Path) -> None:
    """With a rate that shakes the weights, their average is better than they are."""
    options = TrainingOptions(6, "sgd", batch_size=8, learning_rate=0.5, schedule="constant")
    plain, _ = run(options=options, scratch=tmp_path / "plain")
    averaged, weights = run(options=replace(options, average=0.95), scratch=tmp_path / "averaged")
    assert averaged.loss_after < plain.loss_after
    again, _ = run(options=OPTIONS, module=loaded(weights), scratch=tmp_path / "again")
    assert again.loss_before == averaged.loss_after


def loaded(weights: Weights) -> nn.Module:
    module = network()
    module.load_state_dict(weights)
    return module


@pytest.mark.parametrize(
    "options", [{"average": 0.9}, {"parts": 3}, {"schedule": "one-cycle"}, {"helped": True}, {"precision": "float16"}]
)
def test_what_a_run_learns_beside_the_weights_is_gone_on_with_too(
    options: dict[str, Any], run: Any, tmp_path: Path
) -> None:
    def objective() -> Any:
        return Helped() if "helped" in options else None

    how = replace(OPTIONS, **{name: value for name, value in options.items() if name != "helped"})
    expected = run(options=how, scratch=tmp_path / "whole", objective=objective())
    with pytest.raises((Interrupted, InputError)):
        run(options=how, dataset=Points(90, 200, interrupt), objective=objective())
    found = run(options=how, objective=objective())
    assert found[0] == expected[0]
    assert same(found[1], expected[1])


class Helped:
    """The distance of the outputs to what a helper that learns along says of the inputs; weighs samples by place."""

    identity = "helped"

    def __init__(self) -> None:
        torch.manual_seed(1)
        self.helpers = (nn.Linear(8, 4),)
        self.places: list[int] = []

    def start(self, device: object) -> None:
        self.helpers[0].to(device)  # type: ignore[call-overload]

    def loss(self, network: Callable[..., Tensor], batch: Batch, samples: Any) -> Tensor:
        self.places += samples
        weights = torch.tensor([1 + place % 2 for place in samples]).reshape(-1, 1)
        return ((network(*batch.inputs) - self.helpers[0](*batch.inputs)).square() * weights).mean()

    def judge(self, network: Callable[..., Tensor], batch: Batch) -> Tensor:
        return nn.functional.mse_loss(network(*batch.inputs), self.helpers[0](*batch.inputs))


def test_an_objective_is_what_is_trained_by_and_its_helpers_learn(run: Any, tmp_path: Path) -> None:
    objective = Helped()
    before = copy.deepcopy(objective.helpers[0].weight)
    result, _ = run(objective=objective, options=TrainingOptions(1, batch_size=16, learning_rate=0.02))
    assert result.loss_after < result.loss_before
    assert not torch.equal(objective.helpers[0].weight, before)
    assert len(set(objective.places)) == 80  # of 81: a last step of one sample is left out
    assert set(objective.places) <= set(range(81))
    run()
    assert len(list((tmp_path / "scratch").iterdir())) == 2  # not taken for the run by hard labels


def test_a_run_whose_time_is_over_stops_with_the_best_weights(run: Any, tmp_path: Path) -> None:
    class Slow(Points):
        def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
            time.sleep(0.001)
            return super().__getitem__(index)

    options = TrainingOptions(10**6, batch_size=16, learning_rate=0.02, minutes=0.01)
    result, weights = run(options=options, dataset=Slow())
    assert result.out_of_time
    assert 0 < result.epochs_run < 100
    assert result.loss_after <= result.loss_before
    again, _ = run(options=OPTIONS, module=loaded(weights), scratch=tmp_path / "again")
    assert again.loss_before == pytest.approx(result.loss_after)
    assert run(options=options)[0] == result  # its time is still over


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_layers_compute_in_half_the_bits_and_weights_stay_in_float32(precision: Any, run: Any) -> None:
    seen: set[torch.dtype] = set()
    module = network()
    module[0].register_forward_hook(lambda layer, inputs, output: seen.add(output.dtype))
    result, weights = run(module, replace(OPTIONS, precision=precision))
    assert seen == {getattr(torch, precision)}
    assert result.loss_after < result.loss_before
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32, torch.int64}
