"""How much each unit of a group matters, by seven criteria. Numbers are comparable within a group only."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .groups import ChannelGroup, Member
from .recurrent import by_channel, is_recurrent

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from ..recipe.datasets import Batch

BINS = 100
"""Bins of the histograms that entropies are taken from, as in the paper."""
Importances = dict[ChannelGroup, list[float]]


def by_norm(module: nn.Module, groups: Sequence[ChannelGroup], power: int) -> Importances:
    """The norm of all weights that go with a unit: of those that make it, scale it and read it.

    Group-level norms are the criterion of DepGraph (Fang et al. 2023, arXiv:2301.12900, section 3.3).
    """

    import torch

    def measure(group: ChannelGroup) -> Tensor:
        sums = [per_unit(values, member) for member, values in _powers(module, group, power)]
        return torch.stack(sums).sum(0) ** (1 / power)

    with torch.no_grad():
        return {group: measure(group).tolist() for group in groups}


def squares_of(module: nn.Module, group: ChannelGroup) -> list[tuple[Member, Tensor]]:
    """For each side of a layer with weights, and each batch norm, the squares (channels) of what belongs to a channel.

    Gradients go through them.
    """
    return _powers(module, group, 2)


def _powers(module: nn.Module, group: ChannelGroup, power: int) -> list[tuple[Member, Tensor]]:
    sums = [(member, _channel_sums(module, member, power)) for member in _weighted(module, group)]
    return [*sums, *((member, scales.abs().pow(power)) for member, scales in scales_of(module, group))]


def by_batchnorm(module: nn.Module, groups: Sequence[ChannelGroup]) -> Importances:
    """The mean size of the batch-norm scales on a unit (Liu et al. 2017, arXiv:1708.06519); L2 where there are none."""
    import torch

    importances = by_norm(module, groups, 2)
    for group in groups:
        scales = [per_unit(values.detach().abs(), member) for member, values in scales_of(module, group)]
        if scales:
            importances[group] = torch.stack(scales).mean(0).tolist()
    return importances


def by_geometric_median(module: nn.Module, groups: Sequence[ChannelGroup]) -> Importances:
    """How far a unit's filters are from all others of their layer: what lies in the middle, the others can replace.

    Filter pruning via geometric median (He et al. 2019, arXiv:1811.00250, equation 7); L2 where no layer makes them.
    """
    import torch

    def measure(group: ChannelGroup) -> Tensor | None:
        makers = [member for member in _weighted(module, group) if member.side == "out"]
        filters = [_by_channel(module, member, _weight_of(module, member)).detach().float() for member in makers]
        sums = [per_unit(torch.cdist(rows, rows).sum(1), member) for rows, member in zip(filters, makers, strict=True)]
        return torch.stack(sums).sum(0) if sums else None

    importances = by_norm(module, groups, 2)
    found = {group: measure(group) for group in groups}
    return importances | {group: values.tolist() for group, values in found.items() if values is not None}


def by_entropy(module: nn.Module, groups: Sequence[ChannelGroup], batches: Iterable[Batch]) -> Importances:
    """The entropy, in nats, of what a unit hands on: a unit that answers all samples alike tells nothing of them.

    Of the values that each layer reads, averaged over places, a histogram over the samples (Luo and Wu 2017,
    arXiv:1706.05791, section 3.2); the mean over the readers. `module` is not changed.
    """
    import torch

    readers = {group: [member for member in _weighted(module, group) if member.side == "in"] for group in groups}
    names = {member.module for members in readers.values() for member in members}
    seen: dict[str, list[Tensor]] = {name: [] for name in names}

    def watch(name: str) -> Any:
        return lambda layer, given: seen[name].append(_averaged(given[0], layer))

    hooks = [module.get_submodule(name).register_forward_pre_hook(watch(name)) for name in names]
    try:
        with torch.no_grad():
            for batch in batches:
                module(*batch.inputs)
    finally:
        for hook in hooks:
            hook.remove()
    entropies = {name: _entropies(torch.cat(values)) for name, values in seen.items()}

    def measure(members: Sequence[Member]) -> list[float]:
        return torch.stack([per_unit(entropies[member.module], member) for member in members]).mean(0).tolist()

    return by_norm(module, groups, 2) | {group: measure(members) for group, members in readers.items() if members}


def _averaged(values: Tensor, layer: Any) -> Tensor:
    """(N, channels): each channel's mean over all places; those of linear and recurrent layers are the last axis."""
    if is_recurrent(layer) and not layer.batch_first and values.dim() > 2:
        values = values.transpose(0, 1)
    if type(layer).__name__ == "Linear" or is_recurrent(layer):
        return values.reshape(len(values), -1, values.shape[-1]).mean(1)
    return values.flatten(2).mean(2) if values.dim() > 2 else values


def _entropies(values: Tensor) -> Tensor:
    """The entropy of each column of (N, channels), from a histogram of BINS between its extremes; 0 where constant."""
    import torch

    low, high = values.amin(0), values.amax(0)
    width = (high - low).clamp(min=torch.finfo(values.dtype).tiny)
    bins = ((values - low) / width * BINS).long().clamp(max=BINS - 1)
    counts = torch.zeros(BINS, values.shape[1]).scatter_add(0, bins, torch.ones_like(values, dtype=torch.float32))
    shares = counts / len(values)
    entropies: Tensor = torch.special.entr(shares).sum(0)
    return entropies


def by_random(groups: Sequence[ChannelGroup], seed: int) -> Importances:
    """Numbers that mean nothing: the control that any criterion must beat."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return {group: torch.rand(group.units, generator=generator).tolist() for group in groups}


def by_taylor(
    module: nn.Module,
    groups: Sequence[ChannelGroup],
    batches: Iterable[Batch],
    loss: Callable[[Tensor, Tensor], Tensor],
) -> Importances:
    """The first-order change of the loss when a unit goes: the mean over batches of |sum of weight * gradient|.

    The sum runs over the weights that read the unit, which makes it the change of zeroing the unit's activation
    (Molchanov et al. 2019, arXiv:1906.10771). `module` is not changed; its frozen layers count as others do.
    """
    import torch

    module = copy.deepcopy(module).requires_grad_(True)
    totals = {group: torch.zeros(group.units) for group in groups}
    for batch in batches:
        module.zero_grad(set_to_none=True)
        loss(module(*batch.inputs), batch.labels).backward()  # type: ignore[no-untyped-call]
        changes = {group: torch.zeros(group.units) for group in groups}
        for group in groups:
            readers = [member for member in _weighted(module, group) if member.side == "in"]
            for member in readers:
                changes[group] += per_unit(_first_order(module, member), member)
            totals[group] += changes[group].abs()
    return {group: total.tolist() for group, total in totals.items()}


def _first_order(module: nn.Module, member: Member) -> Tensor:
    import torch

    def product(key: str) -> Tensor:
        weight = module.get_parameter(f"{member.module}.{key}")
        return torch.zeros_like(weight) if weight.grad is None else weight.detach() * weight.grad

    return _by_channel(module, member, product).sum(1)


def _channel_sums(module: nn.Module, member: Member, power: int) -> Tensor:
    return _by_channel(module, member, _weight_of(module, member)).abs().pow(power).sum(1)


def _weight_of(module: nn.Module, member: Member) -> Callable[[str], Tensor]:
    """The member's parameters by their own names."""
    return lambda key: module.get_parameter(f"{member.module}.{key}")


def _by_channel(module: nn.Module, member: Member, tensor_of: Callable[[str], Tensor]) -> Tensor:
    """The weights as (channels of the member's side, all else); a grouped convolution goes by whole filters.

    `tensor_of` gives a weight, or what is told of each of its values, by its name.
    """
    import torch

    layer = _layer(module, member)
    if is_recurrent(layer):
        return torch.cat(by_channel(layer, member.side, tensor_of), 1)
    is_first = (member.side == "out") != getattr(layer, "transposed", False)
    axis = 0 if is_first or getattr(layer, "groups", 1) > 1 else 1
    return tensor_of("weight").transpose(0, axis).flatten(1)


def per_unit(per_channel: Tensor, member: Member) -> Tensor:
    """(channels) -> (units): the sum over the channels of each unit."""
    import torch

    places = [place for unit in member.positions for place in unit]
    owners = [unit for unit, own in enumerate(member.positions) for _ in own]
    device = per_channel.device
    nothing = torch.zeros(len(member.positions), device=device)
    return nothing.index_add(0, torch.tensor(owners, dtype=torch.long, device=device), per_channel[places].float())


def _weighted(module: nn.Module, group: ChannelGroup) -> list[Member]:
    """The members that are one side of a convolution, a linear or a recurrent layer."""
    import torch_pruning

    kinds = (torch_pruning.ops.TORCH_CONV, torch_pruning.ops.TORCH_LINEAR)
    layers = [(member, _layer(module, member)) for member in group.members]
    return [member for member, layer in layers if isinstance(layer, kinds) or is_recurrent(layer)]


def scales_of(module: nn.Module, group: ChannelGroup) -> list[tuple[Member, Tensor]]:
    """The batch norms of the group with the scale (channels) of each."""
    from torch.nn.modules.batchnorm import _BatchNorm

    layers = [(member, _layer(module, member)) for member in group.members]
    return [(member, layer.weight) for member, layer in layers if isinstance(layer, _BatchNorm) and layer.affine]


def _layer(module: nn.Module, member: Member) -> torch.nn.Module | None:
    return None if member.side == "parameter" else module.get_submodule(member.module)
