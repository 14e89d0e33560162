"""LSTM, GRU and plain recurrent layers: where a hidden unit lies in their parameters.

A unit h has a row for each gate in every weight and bias, and is read by a column of the recurrent weights and of the
input weights of the layer above. All layers of a stack, and both directions, have as many units, so that unit h of each
goes along with unit h of all others. Without its rows and columns it is zero at all times: its gates are then
constants, its candidate is tanh(0), and it starts at zero (torch.nn.LSTM, GRU and RNN, "Variables").
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1}


def is_recurrent(layer: object) -> bool:
    """Whether it is a stack of recurrent layers whose units can be told apart."""
    from torch import nn

    return isinstance(layer, nn.RNNBase)


def why_fixed(layer: Any) -> str:
    """Why units can't go; empty where they can."""
    if layer.mode not in _GATES and layer.mode != "RNN_RELU":
        return f"its kind ({layer.mode}) is unknown"
    return "its outputs are projections of its units (proj_size)" if layer.proj_size else ""


def gates(layer: Any) -> int:
    """How many rows a unit has in each weight."""
    return _GATES.get(layer.mode, 1)


def by_channel(layer: Any, side: str, tensor_of: Callable[[str], Tensor]) -> list[Tensor]:
    """Of each weight, (channels, all else) of a side: what belongs to an input, or makes and reads a hidden unit."""
    hidden, found = layer.hidden_size, list[Any]()
    for key, axis in _weights(layer):
        tensor = tensor_of(key)
        if side == "in":
            found += [tensor.transpose(0, 1)] if axis == "input" else []
            continue
        found.append(tensor.reshape(gates(layer), hidden, -1).transpose(0, 1).flatten(1))
        if axis != "input":
            found.append(tensor.transpose(0, 1).reshape(-1, hidden, len(tensor)).transpose(0, 1).flatten(1))
    return found


def remove(layer: Any, side: str, indices: Collection[int]) -> None:
    """The inputs, or the hidden units, of these numbers are gone from the layer, in place."""
    import torch

    size = layer.input_size if side == "in" else layer.hidden_size
    left = torch.tensor([index for index in range(size) if index not in set(indices)])
    for key, axis in _weights(layer):
        tensor = getattr(layer, key).detach()
        if side == "out":
            tensor = tensor[_repeated(left, size, gates(layer))]
        if (axis == "input") == (side == "in"):
            tensor = tensor[:, _repeated(left, size, tensor.shape[1] // size)]
        _put(layer, key, tensor)
    if side == "in":
        layer.input_size = len(left)
        return
    for key in [key for key, _ in layer.named_parameters(recurse=False) if key.startswith("bias")]:
        _put(layer, key, getattr(layer, key).detach()[_repeated(left, size, gates(layer))])
    layer.hidden_size = len(left)


def _weights(layer: Any) -> Iterator[tuple[str, str]]:
    """Each weight's name, and what its columns are: inputs, hidden units, or the outputs of the layer below."""
    for key, _ in layer.named_parameters(recurse=False):
        if key.startswith("weight_hh"):
            yield key, "hidden"
        elif key.startswith("weight_ih"):
            yield key, "input" if key.removeprefix("weight_ih_l").startswith("0") else "below"


def _repeated(left: Tensor, size: int, count: int) -> Tensor:
    """The same places in each of `count` blocks that follow each other."""
    import torch

    return torch.cat([left + block * size for block in range(count)])


def _put(layer: Any, key: str, values: Tensor) -> None:
    import torch

    setattr(layer, key, torch.nn.Parameter(values.clone(), getattr(layer, key).requires_grad))
