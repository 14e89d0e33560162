"""Checkpoints: whole or absent, the newest counts, and what is damaged is said and left behind."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from edgewright.training.checkpoint import (
    BEST_FILE,
    OPTIMIZER_FILE,
    WEIGHTS_FILE,
    Checkpoints,
    Position,
    hash_of,
    weights_of,
)
from torch import Tensor, nn


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))


def trained() -> tuple[nn.Module, torch.optim.Optimizer]:
    """A network and its optimizer after one step, so that both hold something."""
    module = network()
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    module(torch.randn(8, 4)).square().mean().backward()
    optimizer.step()
    return module, optimizer


def position(step: int) -> Position:
    return Position(loss_before=2.5, best_loss=float("inf"), step=step, epochs_without_gain=1)


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def checkpoints(tmp_path: Path, warnings: list[str]) -> Checkpoints:
    return Checkpoints(tmp_path / "run", warnings.append)


def save(checkpoints: Checkpoints, step: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    module, optimizer = trained()
    checkpoints.save(position(step), weights_of(module), weights_of(network()), optimizer.state_dict())
    return weights_of(module), optimizer.state_dict()


def same(found: Any, expected: Any) -> bool:
    return all(torch.equal(found[name], tensor) for name, tensor in expected.items()) and set(found) == set(expected)


def test_what_was_saved_is_loaded(checkpoints: Checkpoints) -> None:
    assert checkpoints.load() is None
    weights, optimizer_state = save(checkpoints, 7)
    found = checkpoints.load()
    assert found is not None
    assert found[0] == position(7)
    assert same(found[1], weights)
    assert same(found[2], weights_of(network()))
    _, optimizer = trained()
    optimizer.load_state_dict(found[3])
    assert optimizer.state_dict()["param_groups"] == optimizer_state["param_groups"]
    first = optimizer.state_dict()["state"][0]
    assert same(first, optimizer_state["state"][0])


def test_one_checkpoint_is_kept_and_it_is_the_newest(checkpoints: Checkpoints) -> None:
    for step in (9, 10, 100):
        save(checkpoints, step)
    assert [path.name for path in checkpoints.folder.iterdir()] == ["step-000000100"]


def test_what_a_kill_leaves_does_no_harm(checkpoints: Checkpoints, warnings: list[str]) -> None:
    save(checkpoints, 9)
    older = checkpoints.folder / "step-000000009"
    shutil.copytree(older, checkpoints.folder / "kept")
    save(checkpoints, 10)
    (checkpoints.folder / "kept").rename(older)  # killed before the older one was deleted
    (older / WEIGHTS_FILE).unlink()  # or while it was
    (checkpoints.folder / "partial").mkdir()  # or while one was written
    (checkpoints.folder / "partial" / WEIGHTS_FILE).write_bytes(b"half")
    found = checkpoints.load()
    assert found is not None
    assert found[0].step == 10
    assert warnings == []
    save(checkpoints, 11)
    assert [path.name for path in checkpoints.folder.iterdir()] == ["step-000000011"]


@pytest.mark.parametrize("name", [WEIGHTS_FILE, BEST_FILE, OPTIMIZER_FILE])
@pytest.mark.parametrize("content", [b"", b"other", None], ids=["empty", "other", "cut off"])
def test_a_damaged_checkpoint_is_said_and_deleted(
    name: str, content: bytes | None, checkpoints: Checkpoints, warnings: list[str]
) -> None:
    save(checkpoints, 9)
    path = checkpoints.folder / "step-000000009" / name
    path.write_bytes(path.read_bytes()[:-20] if content is None else content)
    assert checkpoints.load() is None
    assert len(warnings) == 1
    assert warnings[0].startswith("training: the checkpoint step-000000009 is damaged and was deleted")
    assert list(checkpoints.folder.iterdir()) == []


class Attack:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_code_in_a_checkpoint_does_not_run(checkpoints: Checkpoints, tmp_path: Path, warnings: list[str]) -> None:
    save(checkpoints, 9)
    torch.save(Attack(tmp_path / "ran"), checkpoints.folder / "step-000000009" / OPTIMIZER_FILE)
    assert checkpoints.load() is None
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(Attack(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


def test_weights_are_copies(checkpoints: Checkpoints) -> None:
    module = network()
    before = weights_of(module)
    with torch.no_grad():
        module[0].weight += 1
    assert not torch.equal(before["0.weight"], module.state_dict()["0.weight"])
    assert set(before) == set(module.state_dict())


def test_the_hash_tells_weights_buffers_and_names_apart() -> None:
    assert hash_of(network()) == hash_of(network())
    assert hash_of(network()) != hash_of(network(seed=1))
    changed = network()
    changed[1].running_mean += 1
    assert hash_of(changed) != hash_of(network())
    assert hash_of(nn.ModuleDict({"a": network()})) != hash_of(nn.ModuleDict({"b": network()}))
    flat = nn.ParameterDict({"x": torch.zeros(4)})
    assert hash_of(flat) != hash_of(nn.ParameterDict({"x": torch.zeros(2, 2)}))
    scalar = nn.Module()
    scalar.register_buffer("empty", torch.zeros(0))
    assert hash_of(scalar) == hash_of(scalar)
