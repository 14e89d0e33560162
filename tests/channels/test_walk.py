from __future__ import annotations

from types import ModuleType

import pytest
import torch
from edgewright.channels.groups import ChannelGroup, Groups
from edgewright.channels.walk import find_groups
from torch import Tensor, nn

IMAGE = (torch.zeros(2, 3, 16, 16),)


def group(groups: Groups, name: str) -> ChannelGroup:
    return next(group for group in groups.found if group.name == name)


def sides(group: ChannelGroup) -> set[tuple[str, str]]:
    return {(member.module, member.side) for member in group.members}


def test_a_shortcut_ties_all_layers_that_it_joins(networks: ModuleType) -> None:
    groups = find_groups(networks.random(networks.Residual), IMAGE)
    assert group(groups, "stem.0").layers == ("first.1.0", "stem.0")
    assert group(groups, "second.1.0").layers == ("second.1.0", "shortcut")
    assert groups.whole == {"head": "its channels are an output of the network"}


def test_a_depthwise_convolution_is_tied_to_what_it_reads(networks: ModuleType) -> None:
    found = group(find_groups(networks.random(networks.DepthwiseSeparable), IMAGE), "stem.0")
    assert found.layers == ("depthwise.0", "stem.0")
    assert ("pointwise.0", "in") in sides(found)


def test_a_grouped_convolution_loses_whole_groups(networks: ModuleType) -> None:
    found = group(find_groups(networks.random(networks.Grouped), IMAGE), "stem.0")
    places = {member.module: member.positions for member in found.members}
    assert found.units == 8
    assert places["stem.0"][1] == (4, 5, 6, 7)
    assert places["grouped.0"][1] == places["last.0"][1] == tuple(range(8, 16))


def test_a_concatenation_shifts_what_it_appends(networks: ModuleType) -> None:
    found = group(find_groups(networks.random(networks.Dense), IMAGE), "first.0")
    places = {member.module: member.positions for member in found.members}
    assert places["second.0"][0] == places["head"][0] == (16,)


def test_a_flattened_channel_is_many_features(networks: ModuleType) -> None:
    found = group(find_groups(networks.random(networks.Flattened), IMAGE), "first.0")
    places = {member.module: member.positions for member in found.members}
    assert places["hidden"][2] == tuple(range(32, 48))


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.GroupNorm(2, 8), "a GroupNorm normalises over blocks of its channels"),
        (nn.ConvTranspose2d(8, 4, 2, groups=2), "1 is a transposed convolution with groups"),
        (nn.Conv2d(8, 4, 1, groups=4), "1 reads several channels for each that it gives, in groups of their own"),
    ],
)
def test_layers_that_no_channel_can_leave_are_named(layer: nn.Module, reason: str) -> None:
    groups = find_groups(nn.Sequential(nn.Conv2d(3, 8, 1), layer, nn.ReLU()), IMAGE)
    assert groups.whole["0"] == reason


def test_layers_to_keep_take_what_they_are_tied_to_with_them(networks: ModuleType) -> None:
    groups = find_groups(networks.random(networks.Plain), IMAGE, keep=("second",))
    assert [found.name for found in groups.found] == ["third.0"]
    assert groups.whole["first"] == groups.whole["second.0"] == "the recipe keeps second.0"


class ThroughNumpy(nn.Module):
    """Leaves torch, which can't be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self.stem(x).numpy())


def test_a_network_that_cannot_be_traced_has_all_its_layers_named() -> None:
    groups = find_groups(ThroughNumpy(), IMAGE)
    assert groups.found == ()
    assert groups.whole["stem"].startswith("torch-pruning can't trace the network: RuntimeError")


class Recurrent(nn.Module):
    """A convolution, a linear layer and an LSTM, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.embed, self.cells = nn.Conv2d(3, 8, 1), nn.Linear(8, 12), nn.LSTM(12, 10)
        self.head = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        steps = self.embed(self.stem(x).relu().flatten(2).permute(2, 0, 1)).relu()
        outputs: Tensor = self.head(self.cells(steps)[0][-1])
        return outputs


def test_what_surrounds_recurrent_layers_is_marked_and_the_rest_is_walked_to() -> None:
    groups = find_groups(Recurrent(), IMAGE)
    assert {found.name for found in groups.found} == {"stem", "embed", "cells"}
    assert sides(group(groups, "stem")) == {("stem", "out"), ("embed", "in")}
    assert sides(group(groups, "embed")) == {("embed", "out"), ("cells", "in")}
    assert sides(group(groups, "cells")) == {("cells", "out"), ("head", "in")}
    assert groups.whole == {"head": "its channels are an output of the network"}
