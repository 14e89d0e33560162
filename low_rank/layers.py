"""Which layers of a network can be taken apart, what they are called with, and why others stay whole."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..ir.bypass import swap
from ..ir.names import is_within

if TYPE_CHECKING:
    from torch import Tensor, nn

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@dataclass(frozen=True)
class Layer:
    """A layer that can be taken apart: the shape of what it is called with, and its positions before and behind."""

    name: str
    module: nn.Module
    input_shape: tuple[int, ...]
    before: tuple[int, ...]
    behind: tuple[int, ...]


@dataclass(frozen=True)
class Layers:
    """The layers that can be taken apart, in the network's order, and of the others the reason."""

    found: tuple[Layer, ...]
    whole: Mapping[str, str]


def find_layers(module: nn.Module, inputs: tuple[Tensor, ...], keep: Collection[str] = ()) -> Layers:
    """Linear layers and convolutions that others could stand in for without the network noticing.

    That is tried: each is put into a sequence of one, and the network has to give the same numbers. `module` is left as
    it is, in eval mode.
    """
    module.eval()
    names = _weighted(module)
    tied = _tied(module)
    whole: dict[str, str] = {}
    found: list[Layer] = []
    calls = _calls(module, inputs, list(names))
    for name, layer in names.items():
        why = _why_whole(name, layer, tied, keep) or _why_unseen(module, name, inputs, calls)
        if why:
            whole[name] = why
        else:
            given, made = calls[name]
            found.append(Layer(name, layer, given, _positions(layer, given), _positions(layer, made)))
    return Layers(tuple(found), whole)


def _weighted(module: nn.Module) -> dict[str, nn.Module]:
    """All layers with a matrix or a kernel, subclasses included, by their first names."""
    from torch import nn
    from torch.nn.modules.conv import _ConvNd

    return {name: part for name, part in module.named_modules() if isinstance(part, _ConvNd | nn.Linear)}


def _tied(module: nn.Module) -> dict[int, list[str]]:
    """All the names of each parameter, by its identity."""
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return names


def _why_whole(name: str, layer: Any, tied: Mapping[int, list[str]], keep: Collection[str]) -> str:
    """What of the layer itself speaks against it; empty where nothing does."""
    from torch import nn
    from torch.nn.utils.parametrize import is_parametrized

    if not name:
        return "it is the network itself"
    if is_within(name, keep):
        return "the recipe keeps it"
    if is_parametrized(layer) or not isinstance(vars(layer)["_parameters"].get("weight"), nn.Parameter):
        return "its weights are computed, not stored"
    if any(vars(layer).get(hooks) for hooks in _HOOKS):
        return "it has hooks, which would be lost"
    if getattr(layer, "transposed", False):
        return "it is a transposed convolution"
    if type(layer) not in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d) or "forward" in vars(layer):
        return f"it is a {type(layer).__name__} of the network's own, which may compute something else"
    if getattr(layer, "groups", 1) > 1:
        return f"it has {layer.groups} groups, and each is small already"
    shared = [other for key in layer._parameters.values() for other in tied.get(id(key), ())]
    others = sorted({other.rpartition(".")[0] for other in shared} - {name})
    return f"{' and '.join(others)} has the same weights" if others else ""


def _why_unseen(module: nn.Module, name: str, inputs: tuple[Tensor, ...], calls: Mapping[str, Any]) -> str:
    """Why the network would notice another module in its place; empty where it does not."""
    from torch import nn

    if name not in calls:
        return "the network does not call it as a layer with one tensor"
    reference = _outputs(module, inputs)
    old = swap(module, name, nn.Sequential(module.get_submodule(name)))
    try:
        found = _outputs(module, inputs)
    except Exception as error:  # the network reads something of the layer but its output
        text = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        return f"the network can't run with another module in its place ({text})"
    finally:
        swap(module, name, old)
    is_same = len(found) == len(reference) and all(map(_equal, found, reference))
    return "" if is_same else "the network computes something else with another module in its place"


def _calls(
    module: nn.Module, inputs: tuple[Tensor, ...], names: Collection[str]
) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """The shapes of the first input and output of each layer; without those that are called in another way."""
    import torch

    calls: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}

    def remember(name: str) -> Any:
        def hook(layer: nn.Module, given: tuple[Any, ...], output: Any) -> None:
            if len(given) == 1 and isinstance(given[0], torch.Tensor) and isinstance(output, torch.Tensor):
                calls.setdefault(name, (tuple(given[0].shape), tuple(output.shape)))

        return hook

    with _hooked((module.get_submodule(name), remember(name)) for name in names):
        _outputs(module, inputs)
    return calls


@contextlib.contextmanager
def _hooked(pairs: Iterator[tuple[nn.Module, Any]]) -> Iterator[None]:
    handles = [layer.register_forward_hook(hook) for layer, hook in pairs]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _positions(layer: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """How many positions there are along each axis; for a linear layer their number in one sample."""
    kernel: tuple[int, ...] = getattr(layer, "kernel_size", ())
    if kernel:
        return shape[-len(kernel) :]
    positions = 1
    for size in shape[1:-1]:
        positions *= size
    return (positions,)


def _outputs(module: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """The output tensors; inputs are copied, for networks may write into them."""
    import torch
    from torch.utils._pytree import tree_leaves

    with torch.no_grad():
        found = module(*(given.clone() for given in inputs))
    return [leaf for leaf in tree_leaves(found) if isinstance(leaf, torch.Tensor)]


def _equal(one: Tensor, other: Tensor) -> bool:
    import torch

    return one.shape == other.shape and torch.equal(one.nan_to_num(), other.nan_to_num())
