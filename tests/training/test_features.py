"""Features are seen where they are asked for, and misspelt layers are named with those that are near."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from edgewright.ir.errors import InputError
from edgewright.training.features import Place, checked, embedding_of, recorded

IMAGES = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_outputs_and_inputs_of_layers_are_recorded_while_asked(networks: ModuleType) -> None:
    network = networks.random(networks.Residual)
    places = [Place("stem"), Place("head", is_input=True), Place("")]
    with recorded(network, places) as seen:
        outputs = network(IMAGES)
    assert torch.equal(seen[places[0]], network.stem(IMAGES))
    assert torch.equal(network.head(seen[places[1]]), outputs)
    assert torch.equal(seen[places[2]], outputs)
    before = dict(seen)
    network(IMAGES + 1)
    assert all(seen[place] is before[place] for place in places)


def test_features_carry_gradients_and_are_float32(networks: ModuleType) -> None:
    network = networks.random(networks.Residual)
    with recorded(network, [Place("stem")]) as seen, torch.autocast("cpu", torch.bfloat16):
        network(IMAGES)
    assert seen[Place("stem")].dtype == torch.float32
    seen[Place("stem")].sum().backward()
    assert network.stem[0].weight.grad is not None


def test_embeddings_are_what_the_last_linear_layer_reads(networks: ModuleType) -> None:
    assert embedding_of(networks.Flattened()) == Place("head", is_input=True)
    assert embedding_of(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1))) == Place("")


def test_a_layer_that_is_not_there_is_refused_with_the_nearest_names(networks: ModuleType) -> None:
    network = networks.Residual()
    assert checked("first.1", network, "hints", "student") == Place("first.1")
    message = r"recipe: compress.distill.hints: expected a layer of the teacher; did you mean second.*, got 'secnd'"
    with pytest.raises(InputError, match=message):
        checked("secnd", network, "hints", "teacher")
    with pytest.raises(InputError, match="expected a layer of the student, got 'xyzzy'"):
        checked("xyzzy", network, "attention", "student")
