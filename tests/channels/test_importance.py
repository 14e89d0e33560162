from __future__ import annotations

import copy
import math
from types import ModuleType

import pytest
import torch
from edgewright.channels.groups import ChannelGroup
from edgewright.channels.importance import (
    BINS,
    by_batchnorm,
    by_entropy,
    by_geometric_median,
    by_norm,
    by_random,
    by_taylor,
)
from edgewright.channels.surgery import zero
from edgewright.channels.walk import find_groups
from edgewright.recipe.datasets import Batch
from torch import Tensor, nn

IMAGE = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def groups_of(module: nn.Module) -> tuple[ChannelGroup, ...]:
    return find_groups(copy.deepcopy(module), (IMAGE,)).found


@pytest.mark.parametrize("power", [1, 2])
def test_norms_are_those_of_all_weights_of_a_unit(power: int, networks: ModuleType) -> None:
    module = networks.random(networks.Plain)
    group = next(group for group in groups_of(module) if group.name == "second.0")
    makes, reads = module.get_parameter("second.0.weight")[3], module.get_parameter("third.0.weight")[:, 3]
    scales = module.get_parameter("second.1.weight")[3:4]
    expected = torch.cat([makes.flatten(), scales, reads.flatten()]).norm(power)
    assert by_norm(module, [group], power)[group][3] == pytest.approx(expected.item())


def test_norms_of_a_whole_group_of_a_grouped_convolution(networks: ModuleType) -> None:
    module = networks.random(networks.Grouped)
    group = next(group for group in groups_of(module) if group.name == "stem.0")
    parts = [("stem.0", slice(4, 8)), ("stem.1", slice(4, 8)), ("grouped.0", slice(8, 16)), ("grouped.1", slice(8, 16))]
    weights = [module.get_parameter(f"{name}.weight")[rows].flatten() for name, rows in parts]
    weights.append(module.get_parameter("last.0.weight")[:, 8:16].flatten())
    assert by_norm(module, [group], 2)[group][1] == pytest.approx(torch.cat(weights).norm().item())


def test_batchnorm_reads_the_scales_and_falls_back_to_norms(networks: ModuleType) -> None:
    module = networks.random(networks.Plain)
    groups = {group.name: group for group in groups_of(module)}
    importance = by_batchnorm(module, list(groups.values()))
    assert importance[groups["second.0"]] == pytest.approx(module.get_parameter("second.1.weight").abs().tolist())
    assert importance[groups["first"]] == by_norm(module, [groups["first"]], 2)[groups["first"]]


def test_taylor_is_the_first_order_change_of_the_loss(networks: ModuleType) -> None:
    module = networks.random(networks.Perceptron).double()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    image, labels = IMAGE.double(), torch.arange(8)
    loss = nn.functional.cross_entropy
    group = next(group for group in groups_of(networks.random(networks.Perceptron)) if group.name == "layers.3")
    reader = module.get_submodule("head")
    importance = by_taylor(module, [group], [Batch((image,), labels)], loss)[group]
    weight = reader.weight.detach().clone()
    for unit in (0, 7):
        step = 1e-6
        reader.weight.data = weight.clone()
        reader.weight.data[:, unit] *= 1 - step
        slope = abs(float(loss(module(image), labels)) - float(loss(_with(module, weight)(image), labels))) / step
        assert importance[unit] == pytest.approx(slope, rel=step**0.5, abs=step**0.5)
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in module.parameters())


def _with(module: nn.Module, weight: torch.Tensor) -> nn.Module:
    module = copy.deepcopy(module)
    module.get_submodule("head").weight.data = weight
    return module


def test_a_unit_that_nothing_reads_is_worth_nothing(networks: ModuleType) -> None:
    module = networks.random(networks.Residual)
    group = next(group for group in groups_of(module) if group.name == "stem.0")
    zero(module, {group: [5]})
    importance = by_taylor(module, [group], [Batch((IMAGE,), torch.arange(8))], nn.functional.cross_entropy)[group]
    assert importance[5] == 0
    assert min(value for unit, value in enumerate(importance) if unit != 5) > 0


def test_the_filter_in_the_middle_matters_least(networks: ModuleType) -> None:
    """A unit whose filter is the mean of the others is nearer to them than any of them."""
    module = networks.random(networks.Plain)
    group = next(group for group in groups_of(module) if group.name == "second.0")
    weight = module.get_parameter("second.0.weight")
    with torch.no_grad():
        weight[3] = torch.cat([weight[:3], weight[4:]]).mean(0)
    importance = by_geometric_median(module, [group])[group]
    assert min(range(group.units), key=importance.__getitem__) == 3
    rows = weight.detach().flatten(1)
    by_hand = sum(float((rows[0] - rows[other]).norm()) for other in range(len(rows)))
    assert importance[0] == pytest.approx(by_hand, rel=torch.finfo(torch.float32).eps ** 0.5)


def test_a_unit_that_answers_all_samples_alike_has_no_entropy(networks: ModuleType) -> None:
    module = networks.random(networks.Plain).eval()
    group = next(group for group in groups_of(module) if group.name == "second.0")
    zero(module, {group: [5]})
    before = {name: value.clone() for name, value in module.state_dict().items()}
    importance = by_entropy(
        module, [group], [Batch((IMAGE[:4],), torch.arange(4)), Batch((IMAGE[4:],), torch.arange(4))]
    )
    assert importance[group][5] == 0
    others = [value for unit, value in enumerate(importance[group]) if unit != 5]
    assert 0 < min(others) <= max(others) <= math.log(len(IMAGE)) + torch.finfo(torch.float32).eps * BINS
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_entropy_of_values_that_are_spread_evenly(networks: ModuleType) -> None:
    """Eight samples in eight bins: log 8 nats."""
    module = nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 1))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[1.0], [0.0]]))
    ramp = torch.arange(8.0)[:, None]
    (group,) = find_groups(copy.deepcopy(module), (ramp,)).found
    (first, second) = by_entropy(module, [group], [Batch((ramp,), torch.zeros(8))])[group]
    assert (first, second) == (pytest.approx(math.log(8)), 0)


def test_chance_depends_on_the_seed_alone(networks: ModuleType) -> None:
    groups = groups_of(networks.random(networks.Plain))
    assert by_random(groups, 3) == by_random(groups, 3) != by_random(groups, 4)


class Steps(nn.Module):
    """Two units in a plain recurrent layer; weights (1, 2), ((3, 0), (0, 4)), read by (5, 6)."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.head = nn.RNN(1, 2, batch_first=True), nn.Linear(2, 1)
        with torch.no_grad():
            self.cells.weight_ih_l0.copy_(torch.tensor([[1.0], [2.0]]))
            self.cells.weight_hh_l0.copy_(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
            self.head.weight.copy_(torch.tensor([[5.0, 6.0]]))

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.cells(x)[0][:, -1])
        return outputs


def test_a_hidden_units_norm_has_its_rows_its_columns_and_what_reads_it() -> None:
    module, x = Steps(), torch.ones(2, 3, 1)
    (group,) = find_groups(copy.deepcopy(module), (x,)).found
    assert by_norm(module, [group], 1)[group] == [1 + 3 + 3 + 5, 2 + 4 + 4 + 6]
    assert by_norm(module, [group], 2)[group] == pytest.approx([44**0.5, 72**0.5])
    apart = [((2 - 1) ** 2 + 3**2 + 4**2 + 3**2 + 4**2) ** 0.5] * 2
    assert by_geometric_median(module, [group])[group] == pytest.approx(apart)


def test_a_hidden_units_taylor_change_is_that_of_what_reads_it() -> None:
    module, x = Steps(), torch.ones(2, 3, 1)
    (group,) = find_groups(copy.deepcopy(module), (x,)).found
    batch = Batch((x,), torch.zeros(2, 1))
    found = by_taylor(module, [group], [batch], lambda outputs, labels: outputs.sum())[group]
    with torch.no_grad():
        states = module.cells(x)[0][:, -1].sum(0)
    assert found == pytest.approx((states * torch.tensor([5.0, 6.0])).abs().tolist())


def test_what_recurrent_layers_read_has_its_entropy_over_samples() -> None:
    """A linear layer before the cells: its first channel is the same for all samples, its second is not."""

    class Fed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.steps = nn.Linear(1, 2), nn.GRU(2, 3)
            self.head = nn.Linear(3, 1)
            with torch.no_grad():
                self.embed.weight.copy_(torch.tensor([[0.0], [1.0]]))

        def forward(self, x: Tensor) -> Tensor:
            outputs: Tensor = self.head(self.steps(self.embed(x))[0][-1])
            return outputs

    module, x = Fed(), torch.arange(4.0).reshape(1, 4, 1).expand(5, 4, 1).contiguous()
    groups = {group.name: group for group in find_groups(copy.deepcopy(module), (x,)).found}
    found = by_entropy(module, [groups["embed"]], [Batch((x,), torch.zeros(4))])[groups["embed"]]
    assert found == pytest.approx([0.0, torch.tensor(4.0).log().item()])
