from __future__ import annotations

import copy
from types import ModuleType

import pytest
import torch
from edgewright.channels.groups import ChannelGroup, Groups, Member
from edgewright.channels.proof import MIXED, Prover
from edgewright.channels.surgery import remove, zero
from edgewright.channels.walk import find_groups
from edgewright.ir.errors import StepError
from torch import Tensor, nn

IMAGE = (torch.zeros(2, 3, 16, 16),)
KINDS = [
    "Plain", "Flattened", "Residual", "PaddedResidual", "DepthwiseSeparable", "Grouped", "Dense", "SqueezeExcite",
    "Shuffled", "Attention", "Perceptron", "Untraceable",
]  # fmt: skip


def proven(module: nn.Module) -> tuple[Prover, Groups]:
    prover = Prover(module, IMAGE)
    return prover, prover.proven(find_groups(copy.deepcopy(module), IMAGE), seed=1)


@pytest.mark.parametrize("kind", KINDS)
def test_removing_proven_groups_computes_what_zeroing_them_computes(kind: str, networks: ModuleType) -> None:
    module = networks.random(getattr(networks, kind)).double()
    _, groups = proven(networks.random(getattr(networks, kind)))
    assert groups.found
    cut = {group: range(0, group.units, 3) for group in groups.found}
    image = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    smaller, zeroed = remove(copy.deepcopy(module), cut)(image), zero(copy.deepcopy(module), cut)(image)
    additions = 4096
    rounding = torch.finfo(torch.float64).eps * additions
    assert float((smaller - zeroed).detach().abs().max()) <= rounding * float(zeroed.detach().abs().max())
    assert not torch.equal(zeroed, module(image))


def test_a_group_that_points_at_wrong_channels_is_refuted(networks: ModuleType) -> None:
    module = networks.random(networks.Plain)
    prover, groups = proven(module)
    right = next(group for group in groups.found if group.name == "second.0")
    wrong = ChannelGroup(
        right.name,
        right.layers,
        tuple(
            Member(member.module, member.side, member.positions[1:] + member.positions[:1])
            if member.module == "third.0"
            else member
            for member in right.members
        ),
    )
    assert prover.refutation({right: [0, 3]}) is None
    assert prover.refutation({wrong: [0, 3]}) == MIXED
    assert wrong not in prover.proven(Groups((wrong,), {}), seed=0).found
    assert set(prover.together({right: [0, 3], wrong: [1]})) == {right}


def test_a_group_that_forgets_a_reader_is_refuted(networks: ModuleType) -> None:
    prover, groups = proven(networks.random(networks.Plain))
    right = next(group for group in groups.found if group.name == "second.0")
    short = ChannelGroup(right.name, right.layers, tuple(m for m in right.members if m.module != "third.0"))
    reason = prover.refutation({short: [0]})
    assert reason is not None
    assert "does not tie" in reason


class ChannelMean(nn.Module):
    """Divides by a mean over channels: zeroed channels count in it, absent ones don't."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).exp()
        outputs: Tensor = self.last(x / x.mean(1, keepdim=True))
        return outputs


class OwnPrecision(nn.Module):
    """Makes a float32 tensor of its own, so that it can't run in double precision."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = nn.Conv2d(3, 16, 3), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        total = self.stem(x).flatten(2) @ torch.ones(196, 1, dtype=torch.float32)
        outputs: Tensor = self.last(total.flatten(1))
        return outputs


def test_what_counts_channels_is_left_whole() -> None:
    assert proven(ChannelMean())[1].whole["stem"] == MIXED


def test_a_network_that_insists_on_single_precision_is_proven_in_it() -> None:
    assert [group.name for group in proven(OwnPrecision())[1].found] == ["stem"]


def test_batch_norms_that_start_at_zero_hide_nothing(networks: ModuleType) -> None:
    module = networks.random(networks.PaddedResidual)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.zeros_(layer.weight)
    assert proven(module)[1].whole["stem.0"] == MIXED


def test_a_network_that_cannot_run_on_its_inputs_is_an_error_that_says_so() -> None:
    with pytest.raises(StepError, match="fails on inputs of the recipe's shapes: RuntimeError"):
        Prover(nn.Conv2d(4, 2, 1), IMAGE)
