"""Channels are taken out of a network, or zeroed where they are, and the change is written down as edits."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..ir.state import Edit
from .groups import ChannelGroup, Side
from .recurrent import is_recurrent
from .recurrent import remove as remove_units

if TYPE_CHECKING:
    from torch import Tensor, nn

Cut = Mapping[ChannelGroup, Collection[int]]
"""For each group the units that go."""


def remove(module: nn.Module, cut: Cut) -> nn.Module:
    """`module` with the cut channels physically gone, changed in place by torch-pruning's surgery on each layer."""
    import torch

    for (name, side, axis), indices in _by_layer(cut).items():
        if side == "parameter":
            owner, attribute = _owner(module, name)
            old: Tensor = getattr(owner, attribute)
            rest = torch.tensor(_others(old.shape[axis], indices))
            setattr(owner, attribute, torch.nn.Parameter(old.detach().index_select(axis, rest), old.requires_grad))
        else:
            _remove_from_layer(module.get_submodule(name), side, sorted(indices))
    return module


def zero(module: nn.Module, cut: Cut) -> nn.Module:
    """`module` with everything zero that `remove` would take away, changed in place; no shape changes.

    What `remove` takes is read off a copy whose elements are numbered, so the two can't disagree.
    """
    import torch

    numbered = copy.deepcopy(module)
    for tensor in _tensors(numbered, cut).values():
        tensor.data = torch.arange(tensor.numel(), dtype=torch.float64).reshape(tensor.shape)
    remove(numbered, cut)
    left = _tensors(numbered, cut)
    for name, tensor in _tensors(module, cut).items():
        gone = torch.ones(tensor.numel(), dtype=torch.bool)
        gone[left[name].detach().reshape(-1).long()] = False
        tensor.data = tensor.data.masked_fill(gone.reshape(tensor.shape), 0)
    return module


def edits_between(before: nn.Module, after: nn.Module) -> tuple[Edit, ...]:
    """What must change in a network built like `before` so that the weights of `after` fit into it."""
    changed = dict(after.named_modules())
    edits = []
    for name, old in before.named_modules():
        new = changed[name]
        shapes = {
            key: tuple(tensor.shape)
            for key, tensor in _own_tensors(new).items()
            if tensor.shape != _own_tensors(old)[key].shape
        }
        if shapes:
            attributes = {
                key: value for key, value in vars(new).items() if isinstance(value, int) and value != vars(old)[key]
            }
            edits.append(Edit(name, attributes, shapes))
    return tuple(edits)


def merged(earlier: Iterable[Edit], later: Iterable[Edit]) -> tuple[Edit, ...]:
    """One edit for each module that says what both say, the later one where they differ."""
    result = {edit.module: edit for edit in earlier}
    for edit in later:
        old = result.get(edit.module, Edit(edit.module, {}, {}))
        attributes, shapes = {**old.attributes, **edit.attributes}, {**old.shapes, **edit.shapes}
        result[edit.module] = replace(edit, attributes=attributes, shapes=shapes)
    return tuple(result[name] for name in sorted(result))


def _remove_from_layer(layer: Any, side: Side, indices: list[int]) -> None:
    if is_recurrent(layer):
        remove_units(layer, side, indices)
        return
    from torch_pruning import ops
    from torch_pruning.pruner.function import PrunerBox

    trainable = {key: parameter.requires_grad for key, parameter in layer.named_parameters(recurse=False)}
    kind = ops.module2type(layer)  # type: ignore[no-untyped-call]
    if kind.name == "CONV" and layer.groups > 1:
        _remove_blocks(layer, indices)
    else:
        surgeon = PrunerBox[kind]
        (surgeon.prune_out_channels if side == "out" else surgeon.prune_in_channels)(layer, indices)
    for key, parameter in layer.named_parameters(recurse=False):
        parameter.requires_grad_(trainable[key])


def _remove_blocks(layer: Any, indices: list[int]) -> None:
    """A grouped convolution without the groups that give the output channels `indices`, whole groups."""
    import torch

    outputs, inputs = layer.out_channels // layer.groups, layer.in_channels // layer.groups
    blocks = _others(layer.groups, {index // outputs for index in indices})
    rows = torch.tensor([block * outputs + k for block in blocks for k in range(outputs)])
    layer.weight = torch.nn.Parameter(layer.weight.detach()[rows])
    if layer.bias is not None:
        layer.bias = torch.nn.Parameter(layer.bias.detach()[rows])
    layer.groups = len(blocks)
    layer.out_channels, layer.in_channels = outputs * len(blocks), inputs * len(blocks)


def _by_layer(cut: Cut) -> dict[tuple[str, Side, int], set[int]]:
    """All indices that go from each side of each layer: a layer after a concatenation is in several groups."""
    result: dict[tuple[str, Side, int], set[int]] = {}
    for group, units in cut.items():
        for member in group.members:
            gone = result.setdefault((member.module, member.side, member.axis), set())
            gone.update(place for unit in units for place in member.positions[unit])
    return {key: indices for key, indices in result.items() if indices}


def _tensors(module: nn.Module, cut: Cut) -> dict[str, Tensor]:
    """The floating point tensors of the layers that the cut touches, by their full names."""
    tensors: dict[str, Tensor] = {}
    for name, side, _ in _by_layer(cut):
        if side == "parameter":
            owner, attribute = _owner(module, name)
            tensors[name] = getattr(owner, attribute)
        else:
            own = _own_tensors(module.get_submodule(name))
            tensors.update({f"{name}.{key}": tensor for key, tensor in own.items() if tensor.is_floating_point()})
    return tensors


def _own_tensors(module: nn.Module) -> dict[str, Tensor]:
    parameters = dict(module.named_parameters(recurse=False, remove_duplicate=False))
    return {**parameters, **dict(module.named_buffers(recurse=False, remove_duplicate=False))}


def _owner(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, attribute = name.rpartition(".")
    return module.get_submodule(path), attribute


def _others(count: int, indices: Collection[int]) -> list[int]:
    gone = set(indices)
    return [index for index in range(count) if index not in gone]
