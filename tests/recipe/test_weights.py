"""Weights fit or it is said where they don't; files that would run code are refused."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from edgewright.ir.errors import InputError
from edgewright.recipe.weights import load_weights, read_weights
from safetensors.torch import save_file
from torch import nn


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


def read(path):
    return read_weights(path, "recipe.yaml", "model.weights")


def load(weights, module=None):
    module = module or network()
    load_weights(module, weights, "recipe.yaml", "model.weights")
    return module


def refusal(action, *arguments):
    with pytest.raises(InputError) as caught:
        action(*arguments)
    assert all(str(problem).startswith("recipe.yaml: model.weights: expected") for problem in caught.value.problems)
    return str(caught.value)


class Attack:
    """A pickle of it makes a folder when it is read without care."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self):
        return os.mkdir, (str(self.proof),)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_what_was_saved_is_loaded(tmp_path, suffix):
    saved, path = network(), tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(saved.state_dict(), path)
    loaded = load(read(path))
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in saved.state_dict().items())


def test_half_precision_becomes_the_networks_own():
    halves = {
        name: value.half() if value.is_floating_point() else value for name, value in network().state_dict().items()
    }
    loaded = load(halves)
    assert loaded[0].weight.dtype == torch.float32
    assert torch.equal(loaded[0].weight, halves["0.weight"].float())


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_malicious_pickle_is_refused_and_does_not_run(tmp_path, is_zip):
    path, proof = tmp_path / "weights.pt", tmp_path / "proof"
    torch.save({"0.weight": Attack(proof)}, path, _use_new_zipfile_serialization=is_zip)
    message = refusal(read, path)
    assert "refused because it asks for posix.mkdir, which would run code; nothing of it was run" in message
    assert not proof.exists()
    torch.load(path, weights_only=False)
    assert proof.exists(), "the file does what it is refused for"


def test_a_bare_malicious_pickle_is_refused_and_does_not_run(tmp_path):
    path, proof = tmp_path / "weights.pt", tmp_path / "proof"
    path.write_bytes(pickle.dumps(Attack(proof), protocol=2))
    assert "expected a state dict of tensors" in refusal(read, path)
    assert not proof.exists()


def test_a_whole_module_is_refused_with_advice(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(network(), path)
    message = refusal(read, path)
    assert "torch.nn.modules.container.Sequential" in message
    assert "torch.save(model.state_dict(), 'weights.pt')" in message


def test_a_checkpoint_is_refused_with_the_key_that_is_meant(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"epoch": 3, "state_dict": network().state_dict()}, path)
    assert "a checkpoint that also holds epoch, state_dict; save its 'state_dict' alone" in refusal(read, path)
    torch.save([1], path)
    assert "'weights.pt': a list" in refusal(read, path)


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_a_damaged_file_is_said(tmp_path, name):
    path = tmp_path / name
    for content in (b"", b"not weights at all"):
        path.write_bytes(content)
        assert f"'{name}'" in refusal(read, path)


def test_every_key_that_does_not_fit_is_named_at_once():
    weights = dict(network().state_dict())
    del weights["1.bias"], weights["1.running_mean"]
    weights |= {"3.weight": torch.zeros(1), "0.weight": torch.zeros(8, 3, 3, 3)}
    lines = refusal(load, weights).splitlines()
    assert lines[0].endswith("got 2 missing: 1.bias, 1.running_mean")
    assert lines[1].endswith("got 1 unexpected: 3.weight")
    assert lines[2].endswith("got 1 of another shape: 0.weight (8, 3, 3, 3) for (4, 3, 3, 3)")


def test_many_keys_are_counted():
    weights = {**network().state_dict(), **{f"extra.{number}": torch.zeros(1) for number in range(25)}}
    message = refusal(load, weights)
    assert "25 unexpected: extra.0," in message
    assert "extra.9 and 15 more" in message


def test_a_prefix_on_every_key_is_named():
    weights = {f"module.{name}": value for name, value in network().state_dict().items()}
    message = refusal(load, weights)
    assert "keys that all begin with 'module.'" in message
    assert "removeprefix('module.')" in message


def test_whole_numbers_do_not_pass_for_weights():
    weights = {**network().state_dict(), "0.weight": torch.zeros(4, 3, 3, 3, dtype=torch.int8)}
    assert "0.weight (torch.int8 for torch.float32)" in refusal(load, weights)


def test_old_state_dicts_without_the_batch_counter_fit():
    source = network()
    weights = {name: value + 1 for name, value in source.state_dict().items() if "num_batches" not in name}
    loaded = load(weights).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())
