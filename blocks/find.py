"""Which modules of a network are blocks that it can do without: it goes on with what they were given."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..ir.bypass import passed_by
from ..ir.errors import StepError
from ..ir.names import is_within

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Blocks:
    """The names of blocks that can go, in the order in which the network calls them; of others the reason."""

    found: tuple[str, ...]
    whole: Mapping[str, str]
    are_residual: bool
    """Whether each adds to what it is given; where no module does, any layer that keeps shapes is a block."""


@dataclass(frozen=True)
class _Call:
    """What a module was called with, and what it gave: the latter to be looked at only, for it may have changed."""

    arguments: tuple[Any, ...]
    named: dict[str, Any]
    output: Any


def find_blocks(module: nn.Module, inputs: tuple[Tensor, ...], keep: Collection[str] = ()) -> Blocks:
    """The smallest modules with weights that give back what they are given once all their parameters are zero.

    Those are the blocks of residual networks: x + f(x), or ReLU of it. In a network without such, any smallest module
    with weights that gives a tensor like the one that it is given. `module` is left as it is, in eval mode.
    StepError where the network can't run.
    """
    calls = _calls(module.eval(), inputs)
    alike = [name for name, found in calls.items() if len(found) == 1 and _keeps_shape(found[0])]
    weighted = [name for name in alike if _has_weights(module.get_submodule(name))]
    residual = [name for name in weighted if _gives_back(module.get_submodule(name), calls[name][0])]
    smallest = _smallest(residual or weighted)
    whole = {name: f"the recipe keeps {name}" for name in smallest if _is_kept(name, keep)}
    whole |= {name: why for name in smallest if name not in whole and (why := _why_needed(module, name, inputs))}
    return Blocks(tuple(name for name in smallest if name not in whole), whole, bool(residual))


def _calls(module: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, list[_Call]]:
    """What each module within was called with, by its name, in the order of the first calls' ends."""
    calls: dict[str, list[_Call]] = {}

    def remember(name: str) -> Any:
        def hook(part: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            before = waiting[name].pop()
            calls.setdefault(name, []).append(_Call(*before, output))

        return hook

    waiting: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {}

    def keep(name: str) -> Any:
        def hook(part: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            waiting.setdefault(name, []).append((_cloned(arguments), _cloned(named)))

        return hook

    parts = [(name, part) for name, part in module.named_modules() if name]
    handles = [part.register_forward_pre_hook(keep(name), with_kwargs=True) for name, part in parts]
    handles += [part.register_forward_hook(remember(name), with_kwargs=True) for name, part in parts]
    try:
        _run(module, inputs, {})
    except Exception as error:  # whatever a network raises
        raise StepError(f"the network fails on inputs of the recipe's shapes: {_brief(error)}") from error
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _keeps_shape(call: _Call) -> bool:
    """Whether one tensor comes out that is like the first one that went in."""
    import torch

    first = call.arguments[0] if call.arguments else None
    if not isinstance(first, torch.Tensor) or not isinstance(call.output, torch.Tensor):
        return False
    return first.shape == call.output.shape and first.dtype == call.output.dtype


def _has_weights(part: nn.Module) -> bool:
    """Whether there are matrices or kernels in it: norms and activations alone are no block."""
    return any(parameter.dim() > 1 for parameter in part.parameters())


def _gives_back(part: nn.Module, call: _Call) -> bool:
    """Whether the module with all its parameters zero gives what it is given."""
    import torch

    nothing = copy.deepcopy(part)
    with torch.no_grad():
        for parameter in nothing.parameters():
            parameter.zero_()
    try:
        output = _run(nothing, call.arguments, call.named)
    except Exception:  # a module that can't compute with zeros is none that adds to what it is given
        return False
    return isinstance(output, torch.Tensor) and torch.equal(output, call.arguments[0])


def _smallest(names: Iterable[str]) -> list[str]:
    """Those within which none of the others lies."""
    listed = list(names)
    above = Counter(name[:place] for name in listed for place in range(len(name)) if name[place] == ".")
    return [name for name in listed if not above[name]]


def _is_kept(name: str, keep: Collection[str]) -> bool:
    """Whether the block lies in a module that stays, or such a module in it."""
    return is_within(name, keep) or any(is_within(kept, [name]) for kept in keep)


def _why_needed(module: nn.Module, name: str, inputs: tuple[Tensor, ...]) -> str:
    """Why the network can't do without the block; empty where it can."""
    from torch.utils._pytree import tree_leaves

    before = tree_leaves(_run(module, inputs, {}))
    with passed_by(module, [name]):
        try:
            after = tree_leaves(_run(module, inputs, {}))
        except Exception as error:  # the network reads something else of the block than its output
            return f"the network can't run without it ({_brief(error)})"
    if [getattr(leaf, "shape", None) for leaf in before] != [getattr(leaf, "shape", None) for leaf in after]:
        return "the network's outputs have other shapes without it"
    return ""


def _run(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    import torch

    with torch.no_grad():
        return module(*_cloned(arguments), **_cloned(named))


def _cloned(value: Any) -> Any:
    """Tensors copied: modules may change what they are called with in place."""
    import torch
    from torch.utils._pytree import tree_map

    return tree_map(lambda leaf: leaf.detach().clone() if isinstance(leaf, torch.Tensor) else leaf, value)


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
