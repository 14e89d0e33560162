"""Marks find who reads a channel, whatever lies between, and say where they can't."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from edgewright.channels.groups import Groups
from edgewright.channels.marks import find_marked
from torch import Tensor, nn

SEQUENCE = (torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0)),)


class Network(nn.Module):
    """A linear layer, a recurrent one, and `end`, which gets what that gives."""

    def __init__(self, cells: nn.RNNBase, end: Callable[[Any, Any], Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.embed, self.cells, self.end = nn.Linear(6, 8), cells, end
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.layers, self.cells(self.embed(x).relu()))


def marked(cells: nn.RNNBase, end: Any, *layers: nn.Module, keep: tuple[str, ...] = ()) -> Groups:
    return find_marked(Network(cells, end, *layers), SEQUENCE, keep)


def places(groups: Groups, name: str) -> dict[str, tuple[tuple[int, ...], ...]]:
    (group,) = (group for group in groups.found if group.name == name)
    return {f"{member.module} {member.side}": member.positions for member in group.members}


def each(count: int) -> tuple[tuple[int, ...], ...]:
    return tuple((unit,) for unit in range(count))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_the_last_step_is_read_and_the_linear_layer_before_is_tied_to_the_inputs(kind: type[nn.RNNBase]) -> None:
    groups = marked(kind(8, 5, batch_first=True), lambda layers, out: layers[0](out[0][:, -1]), nn.Linear(5, 2))
    assert places(groups, "embed") == {"embed out": each(8), "cells in": each(8)}
    assert places(groups, "cells") == {"cells out": each(5), "layers.0 in": each(5)}
    assert groups.whole == {}


def test_the_last_state_is_read_too() -> None:
    groups = marked(nn.LSTM(8, 5), lambda layers, out: layers[0](out[1][0][-1]), nn.Linear(5, 2))
    assert places(groups, "cells") == {"cells out": each(5), "layers.0 in": each(5)}


def test_both_directions_of_a_unit_go_together() -> None:
    cells = nn.GRU(8, 3, batch_first=True, bidirectional=True)
    groups = marked(cells, lambda layers, out: layers[0](out[0]), nn.Linear(6, 2))
    assert places(groups, "cells")["layers.0 in"] == ((0, 3), (1, 4), (2, 5))


def test_all_steps_in_one_vector_are_many_places_for_each_unit() -> None:
    cells = nn.GRU(8, 2, batch_first=True)
    groups = marked(cells, lambda layers, out: layers[0](out[0].flatten(1)), nn.Linear(10, 2))
    assert places(groups, "cells")["layers.0 in"] == ((0, 2, 4, 6, 8), (1, 3, 5, 7, 9))


def test_a_stack_of_layers_and_a_convolution_over_time_are_followed() -> None:
    groups = marked(
        nn.GRU(8, 4, batch_first=True),
        lambda layers, out: layers[1](layers[0](out[0])[0].transpose(1, 2)).mean(2),
        nn.LSTM(4, 3, batch_first=True),
        nn.Conv1d(3, 2, 3),
    )
    assert places(groups, "cells") == {"cells out": each(4), "layers.0 in": each(4)}
    assert places(groups, "layers.0") == {"layers.0 out": each(3), "layers.1 in": each(3)}


@pytest.mark.parametrize(
    ("end", "layers", "why"),
    [
        (lambda layers, out: out[0], [], "its channels are an output of the network"),
        (
            lambda layers, out: layers[1](layers[0](out[0])),
            [nn.LayerNorm(4), nn.Linear(4, 2)],
            "layers.0 (a LayerNorm)",
        ),
        (lambda layers, out: layers[0](out[0].softmax(2)), [nn.Linear(4, 2)], "mixes them"),
        (lambda layers, out: layers[0](out[0].cumsum(2)), [nn.Linear(4, 2)], "mixes them"),
        (
            lambda layers, out: layers[0](out[0][:, :, :1], out[1])[0],
            [nn.GRU(1, 4, batch_first=True)],
            "layers.0 reads them in another way than as its input",
        ),
        (lambda layers, out: 1 / 0 if out[0].isnan().any() else layers[0](out[0]), [nn.Linear(4, 2)], "can't run with"),
    ],
)
def test_where_channels_can_not_be_told_apart_the_layer_stays_whole(end: Any, layers: Any, why: str) -> None:
    groups = marked(nn.GRU(8, 4, batch_first=True), end, *layers)
    assert why in groups.whole["cells"]
    assert "cells" not in [group.name for group in groups.found]
    assert places(groups, "embed")["cells in"] == each(8)


def test_what_the_recipe_keeps_is_left_alone_on_both_sides() -> None:
    cells = nn.GRU(8, 4, batch_first=True)
    groups = marked(cells, lambda layers, out: layers[0](out[0]), nn.Linear(4, 2), keep=("cells",))
    assert groups.found == ()
    assert groups.whole["cells"] == "the recipe keeps cells"


def test_projections_and_layers_called_twice_stay_whole() -> None:
    projected = marked(nn.LSTM(8, 6, proj_size=3), lambda layers, out: layers[0](out[0]), nn.Linear(3, 2))
    assert projected.whole["cells"] == "its outputs are projections of its units (proj_size)"
    twice = marked(nn.GRU(8, 8), lambda layers, out: layers[1](layers[0](layers[0](out[0])[0])[0]), nn.GRU(8, 8),
                   nn.Linear(8, 2))  # fmt: skip
    assert twice.whole["layers.0"] == "it is called 2 times"


def test_packed_sequences_are_not_followed() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells, self.head = nn.GRU(6, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 3]), batch_first=True)
            outputs: Tensor = self.head(self.cells(packed)[1][-1])
            return outputs

    assert find_marked(Packed(), SEQUENCE, ()).whole == {"cells": "its outputs are packed sequences"}


def test_a_network_without_recurrent_layers_is_not_run() -> None:
    def never(layers: Any, out: Any) -> Tensor:
        raise AssertionError

    network = Network(nn.GRU(8, 4), never)
    network.cells = nn.Linear(8, 4)  # type: ignore[assignment]
    assert find_marked(network, SEQUENCE, ()) == Groups((), {})


def test_a_network_that_fails_has_its_layers_named() -> None:
    network = Network(nn.GRU(7, 4), lambda layers, out: out[0])
    assert find_marked(network, SEQUENCE, ()).whole["cells"].startswith("the network can't be run: RuntimeError")
