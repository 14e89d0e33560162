from __future__ import annotations

import copy
from types import ModuleType

import torch
from edgewright.channels.groups import ChannelGroup, Member
from edgewright.channels.surgery import edits_between, merged, remove, zero
from edgewright.channels.walk import find_groups
from edgewright.ir.state import Edit, apply_edits
from torch import Tensor, nn

IMAGE = (torch.zeros(2, 3, 16, 16),)


class Scaled(nn.Module):
    """Channels with a bare parameter on them; the first layer is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.scale, self.last = nn.Conv2d(3, 8, 1), nn.Parameter(torch.rand(8, 1, 1)), nn.Conv2d(8, 2, 1)
        self.stem.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.last(self.stem(x) * self.scale)
        return outputs


def only(module: nn.Module, name: str) -> ChannelGroup:
    return next(group for group in find_groups(copy.deepcopy(module), IMAGE).found if group.name == name)


def test_removing_takes_bare_parameters_along_and_leaves_frozen_layers_frozen() -> None:
    module = Scaled()
    smaller = remove(copy.deepcopy(module), {only(module, "stem"): [0, 5]})
    assert torch.equal(smaller.get_parameter("scale"), module.scale[[1, 2, 3, 4, 6, 7]])
    assert smaller.get_parameter("scale").requires_grad
    assert not smaller.get_parameter("stem.weight").requires_grad


def test_zeroing_changes_no_shape_and_only_what_removing_takes(networks: ModuleType) -> None:
    module = networks.random(networks.Grouped)
    zeroed = zero(copy.deepcopy(module), {only(module, "stem.0"): [2]})
    weight = zeroed.get_parameter("grouped.0.weight")
    assert not weight[16:24].any()
    assert torch.equal(weight[:16], module.get_parameter("grouped.0.weight")[:16])
    assert not zeroed.get_parameter("last.0.weight")[:, 16:24].any()


def test_a_grouped_convolution_keeps_the_size_of_its_groups(networks: ModuleType) -> None:
    module = networks.random(networks.Grouped)
    layer = remove(copy.deepcopy(module), {only(module, "stem.0"): [0, 7]}).get_submodule("grouped.0")
    assert (layer.groups, layer.in_channels, layer.out_channels) == (6, 24, 48)
    assert torch.equal(layer.weight, module.get_parameter("grouped.0.weight")[8:56])


def test_edits_replayed_on_a_fresh_network_make_room_for_the_weights() -> None:
    module = Scaled()
    smaller = remove(copy.deepcopy(module), {only(module, "stem"): [0, 5]})
    edits = edits_between(module, smaller)
    assert Edit("last", {"in_channels": 6}, {"weight": (2, 6, 1, 1)}) in edits
    assert Edit("", {}, {"scale": (6, 1, 1)}) in edits
    again = apply_edits(Scaled(), edits)
    again.load_state_dict(smaller.state_dict())
    image = torch.randn(2, 3, 16, 16)
    assert torch.equal(again(image), smaller(image))


def test_the_later_of_two_edits_wins_and_the_rest_of_both_stays() -> None:
    earlier = Edit("a", {"in_channels": 6, "out_channels": 4}, {"weight": (4, 6), "bias": (4,)})
    later = Edit("a", {"in_channels": 3}, {"weight": (4, 3)})
    both = Edit("a", {"in_channels": 3, "out_channels": 4}, {"weight": (4, 3), "bias": (4,)})
    assert merged([earlier], [later, Edit("b", {}, {})]) == (both, Edit("b", {}, {}))


def test_indices_of_several_groups_in_one_layer_go_together(networks: ModuleType) -> None:
    module = networks.random(networks.Dense)
    groups = {group.name: group for group in find_groups(copy.deepcopy(module), IMAGE).found}
    smaller = remove(copy.deepcopy(module), {groups["stem.0"]: [0], groups["first.0"]: [0]})
    rest = [index for index in range(32) if index not in (0, 16)]
    assert torch.equal(smaller.get_parameter("second.0.weight"), module.get_parameter("second.0.weight")[:, rest])


def test_nothing_cut_is_nothing_changed(networks: ModuleType) -> None:
    module = networks.random(networks.Plain)
    untouched = ChannelGroup("first", ("first",), (Member("first", "out", ((0,), (1,))),))
    assert edits_between(module, remove(copy.deepcopy(module), {untouched: []})) == ()
