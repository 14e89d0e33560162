"""Layers are timed once for each kind, and what is nearer than noise is no gain."""

from __future__ import annotations

import torch
from edgewright.ir.state import InputSpec, ModelState
from edgewright.low_rank.layers import Layer
from edgewright.low_rank.timing import Timing, is_faster
from torch import nn


def test_layers_that_differ_in_their_weights_alone_are_timed_together() -> None:
    asked: list[ModelState] = []

    def measure(state: ModelState) -> float:
        asked.append(state)
        return 100.0 - len(asked)

    timing = Timing(measure)
    layers = [Layer(name, nn.Linear(4, 4), (2, 7, 4), (7,), (7,)) for name in ("one", "other")]
    assert [timing.latency_ns(layer, layer.module) for layer in layers] == [99.0, 99.0]
    assert asked[0].inputs == (InputSpec("input", (1, 7, 4)),)
    assert asked[0].torch_module()(torch.zeros(1, 7, 4)).shape == (1, 7, 4)
    assert timing.latency_ns(layers[0], layers[0].module, 2) == 98.0
    assert timing.latency_ns(layers[0], nn.Linear(4, 4, bias=False)) == 97.0
    assert timing.network_ns(asked[0]) == 96.0
    assert len(asked) == 4


def test_what_is_nearer_than_noise_is_not_faster() -> None:
    assert is_faster(90.0, 100.0)
    assert not is_faster(99.0, 100.0)
    assert not is_faster(100.0, 100.0)
