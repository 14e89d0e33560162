"""What a network's channels cost (multiply-accumulates, parameters or channels) while some of them go."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import Measure
from .groups import ChannelGroup
from .recurrent import gates, is_recurrent

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass
class _Layer:
    """A layer costs `each_pair` for every pair of an output and an input channel and `each_output` for every output.

    In a grouped convolution the inputs of an output don't change when whole groups go: `inputs_fixed`. The outputs of a
    recurrent layer are its hidden units, and every two of them cost `each_square`.
    """

    outputs: int
    inputs: int
    each_pair: float
    each_output: float
    inputs_fixed: bool
    each_square: float = 0.0

    @property
    def cost(self) -> float:
        return self.outputs * (self.inputs * self.each_pair + self.each_output + self.outputs * self.each_square)


class Costs:
    """The cost of a network as channels are taken from it. `total` includes what no channel changes."""

    def __init__(self, layers: dict[str, _Layer], total: float) -> None:
        self._layers = layers
        self.total = total

    def copy(self) -> Costs:
        """Costs of its own that start from the same network."""
        return Costs(copy.deepcopy(self._layers), self.total)

    def saved(self, group: ChannelGroup, units: Collection[int]) -> float:
        """By how much the total falls when `units` go."""
        return sum(self._layers[name].cost - after.cost for name, after in self._without(group, units).items())

    def take(self, group: ChannelGroup, units: Collection[int]) -> None:
        """The units are gone."""
        self.total -= self.saved(group, units)
        self._layers.update(self._without(group, units))

    def _without(self, group: ChannelGroup, units: Collection[int]) -> dict[str, _Layer]:
        changed: dict[str, _Layer] = {}
        for member in group.members:
            if member.module not in self._layers:
                continue
            layer = changed.setdefault(member.module, copy.copy(self._layers[member.module]))
            count = sum(len(member.positions[unit]) for unit in units)
            if member.side == "in":
                layer.inputs -= 0 if layer.inputs_fixed else count
            else:
                layer.outputs -= count
        return changed


def costs_of(module: nn.Module, inputs: tuple[Tensor, ...], groups: Sequence[ChannelGroup], measure: Measure) -> Costs:
    """The costs of `module` for one sample. `channels` counts those that groups hold, each group once."""
    if measure == "channels":
        layers = {group.name: _Layer(group.width, 0, 0.0, 1.0, True) for group in groups}
        return Costs(layers, float(sum(group.width for group in groups)))
    if measure == "parameters":
        return Costs(_parameter_layers(module), float(count_parameters(module)))
    return Costs(_multiply_layers(module, inputs), count_macs(module, inputs))


def count_parameters(module: nn.Module) -> int:
    """How many parameters the network has."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_macs(module: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """How many multiply-accumulates one sample takes, products within attention and recurrent layers included.

    Those of an LSTM can be counted only where it is not one operator of a library's (mkldnn).
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with _operation_by_operation(module), FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*inputs)
    return float(counter.get_total_flops()) / 2 / _samples(inputs)


@contextmanager
def _operation_by_operation(module: nn.Module) -> Iterator[None]:
    """Recurrent layers compute in operations that can be counted."""
    import torch

    if not any(is_recurrent(part) for part in module.modules()):
        yield
        return
    mkldnn: Any = torch.backends.mkldnn
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch sets a switch for hardware that is not there, and says so
        with mkldnn.flags(enabled=False):
            yield


def _parameter_layers(module: nn.Module) -> dict[str, _Layer]:
    layers: dict[str, _Layer] = {}
    for name, part in module.named_modules():
        own = dict(part.named_parameters(recurse=False))
        if is_recurrent(part):
            layers[name] = _recurrent_layer(part, 1.0, sum(key.startswith("bias") for key in own) * float(gates(part)))
            continue
        if _is_weighted(part):
            weight = own.pop("weight")
            layers[name] = _weighted_layer(part, float(weight.numel()))
        elif own:
            layers[name] = _Layer(max(tensor.shape[0] for tensor in own.values()), 0, 0.0, 0.0, True)
        if own:
            layers[name].each_output = sum(tensor.numel() for tensor in own.values()) / layers[name].outputs
    return layers


def _multiply_layers(module: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, _Layer]:
    import torch

    positions: Counter[str] = Counter()

    def count(name: str) -> Any:
        def hook(layer: Any, arguments: tuple[Any, ...], output: Any) -> None:
            is_transposed = getattr(layer, "transposed", False)
            if is_recurrent(layer):
                positions[name] += arguments[0].numel() // layer.input_size
                return
            tensor, channels = (arguments[0], _inputs(layer)) if is_transposed else (output, _outputs(layer))
            positions[name] += tensor.numel() // channels

        return hook

    weighted = {name: part for name, part in module.named_modules() if _is_weighted(part) or is_recurrent(part)}
    handles = [part.register_forward_hook(count(name)) for name, part in weighted.items()]
    with torch.no_grad():
        module(*inputs)
    for handle in handles:
        handle.remove()
    samples = _samples(inputs)
    times = {name: positions[name] / samples for name in weighted}
    return {
        name: _recurrent_layer(part, times[name], 0.0)
        if is_recurrent(part)
        else _weighted_layer(part, part.weight.numel() * times[name])
        for name, part in weighted.items()
    }


def _weighted_layer(part: Any, cost: float) -> _Layer:
    outputs, inputs = _outputs(part), _inputs(part)
    return _Layer(outputs, inputs, cost / (outputs * inputs), 0.0, getattr(part, "groups", 1) > 1)


def _recurrent_layer(part: Any, each: float, each_output: float) -> _Layer:
    """Every weight costs `each`, and every unit `each_output` besides.

    In each direction a unit's rows read the inputs (in the lowest layer), the units themselves, and (above) all outputs
    of the layer below, which are the units of both directions.
    """
    directions = 2 if part.bidirectional else 1
    rows = gates(part) * directions * each
    each_square = rows * (1 + (part.num_layers - 1) * (directions + 1))
    return _Layer(part.hidden_size, part.input_size, rows, each_output, False, each_square)


def _is_weighted(part: nn.Module) -> bool:
    import torch_pruning

    return isinstance(part, (torch_pruning.ops.TORCH_CONV, torch_pruning.ops.TORCH_LINEAR))


def _outputs(layer: Any) -> int:
    return int(layer.out_features if _is_linear(layer) else layer.out_channels)


def _inputs(layer: Any) -> int:
    return int(layer.in_features if _is_linear(layer) else layer.in_channels)


def _is_linear(layer: nn.Module) -> bool:
    from torch import nn

    return isinstance(layer, nn.Linear)


def _samples(inputs: tuple[Tensor, ...]) -> int:
    return int(inputs[0].shape[0]) if inputs and inputs[0].dim() else 1
