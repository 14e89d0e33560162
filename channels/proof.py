"""Only those groups are pruned whose removal is shown to compute what zeroing the same weights computes.

The dependency graph guesses how operations without parameters (reshape, shuffle, pad, slice) carry channels. The guess
is checked by running: on random weights, in double precision, the network without the channels must give what the
whole network gives with their weights zeroed. Where it doesn't, the group is left whole.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..ir.errors import StepError
from .groups import ChannelGroup, Groups, brief
from .surgery import Cut, remove, zero

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

MIXED = "what its channels are tied to could not be worked out (an operation mixes, moves or counts channels)"


@dataclass(frozen=True)
class _Call:
    """What a module was called with."""

    arguments: tuple[Any, ...]
    keywords: dict[str, Any]


class Prover:
    """Holds a copy of a network with random weights and what each of its modules was called with.

    The random weights keep signals of the order of one, so that a wrong channel shows in the outputs whatever the
    true weights are (batch norms that start at zero, layer scales of 1e-6). StepError where the network can't run.
    """

    def __init__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        import torch

        try:
            self._prepare(module, inputs, torch.float64)
        except Exception:  # whatever a network raises that makes float32 tensors of its own
            try:
                self._prepare(module, inputs, torch.float32)
            except Exception as error:
                raise StepError(f"the network fails on inputs of the recipe's shapes: {brief(error)}") from error

    def _prepare(self, module: nn.Module, inputs: tuple[Tensor, ...], precision: torch.dtype) -> None:
        import torch

        self.module = _randomised(copy.deepcopy(module), precision)
        self.calls: dict[str, list[_Call]] = {}
        self.rounding = torch.finfo(precision).eps ** 0.5
        self._record(tuple(tensor.to(precision) if tensor.is_floating_point() else tensor for tensor in inputs))

    def proven(self, groups: Groups, seed: int) -> Groups:
        """Those groups that can be pruned together; the layers of the others with their reasons in `whole`."""
        dice = random.Random(seed)
        cut = {group: dice.sample(range(group.units), group.units // 2) for group in groups.found}
        if self.refutation(cut) is None:
            return groups
        reasons = {group: self.refutation({group: units}) for group, units in cut.items()}
        sound = self.together({group: cut[group] for group, reason in reasons.items() if reason is None})
        return groups.without({group: reasons[group] or MIXED for group in groups.found if group not in sound})

    def together(self, cut: Cut) -> Cut:
        """A part of the cut, as large as halving finds it, whose groups can go together."""
        if self.refutation(cut) is None:
            return cut
        if len(cut) == 1:
            return {}
        halves: list[Sequence[ChannelGroup]] = [list(cut)[: len(cut) // 2], list(cut)[len(cut) // 2 :]]
        first, second = (dict(self.together({group: cut[group] for group in half})) for half in halves)
        if self.refutation({**first, **second}) is None:
            return {**first, **second}
        for group, units in second.items():
            if self.refutation({**first, group: units}) is None:
                first[group] = units
        return first

    def refutation(self, cut: Cut) -> str | None:
        """Why this cut can't be made; None where the network without it computes what it computes with it zeroed."""
        import torch
        from torch.utils._pytree import tree_leaves

        if not any(cut.values()):
            return None
        scope = self._scope([member.module for group in cut for member in group.members])
        call, part = self.calls[scope][0], self.module.get_submodule(scope)
        inner = {group.within(scope): units for group, units in cut.items()}
        try:
            pruned = tree_leaves(_run(remove(copy.deepcopy(part), inner), call))
        except Exception as error:  # the pruned network is wrong; the message becomes the reason
            return f"the network can't run without some of its channels ({brief(error)})"
        zeroed = tree_leaves(_run(zero(copy.deepcopy(part), inner), call))
        for smaller, larger in zip(pruned, zeroed, strict=True):
            if not isinstance(larger, torch.Tensor) or not larger.is_floating_point():
                continue
            if smaller.shape != larger.shape:
                return "the shape of something that torch-pruning does not tie to its channels follows them"
            if not float((smaller - larger).abs().max()) <= self.rounding * float(larger.abs().max()):
                return MIXED
        return None

    def _record(self, inputs: tuple[Tensor, ...]) -> None:
        def remember(name: str) -> Any:
            def hook(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
                self.calls.setdefault(name, []).append(_cloned(_Call(arguments, keywords)))

            return hook

        parents = [(name, part) for name, part in self.module.named_modules() if any(part.children())]
        handles = [part.register_forward_pre_hook(remember(name), with_kwargs=True) for name, part in parents]
        _run(self.module, _Call(inputs, {}))
        for handle in handles:
            handle.remove()

    def _scope(self, names: Collection[str]) -> str:
        """The smallest module around all `names` that the network calls exactly once."""
        paths = [name.split(".")[:-1] for name in names]
        shared = paths[0]
        for path in paths:
            same = [a == b for a, b in zip(shared, path, strict=False)]
            shared = shared[: same.index(False) if False in same else len(same)]
        while shared and len(self.calls.get(".".join(shared), ())) != 1:
            shared = shared[:-1]
        return ".".join(shared)


def _run(module: nn.Module, call: _Call) -> Any:
    import torch

    call = _cloned(call)
    with torch.no_grad():
        return module(*call.arguments, **call.keywords)


def _cloned(call: _Call) -> _Call:
    """Tensors copied: modules may change what they are called with in place."""
    import torch
    from torch.utils._pytree import tree_map

    def clone(value: Any) -> Any:
        return value.detach().clone() if isinstance(value, torch.Tensor) else value

    return _Call(tree_map(clone, call.arguments), tree_map(clone, call.keywords))


def _randomised(module: nn.Module, precision: torch.dtype) -> nn.Module:
    """`module` in this precision with weights that keep signals of the order of one (He et al. 2015)."""
    import torch

    generator = torch.Generator().manual_seed(0)
    module.to(precision).eval()
    tensors = [*module.named_parameters(), *module.named_buffers()]
    for name, tensor in tensors:
        if not tensor.is_floating_point():
            continue
        shape, last = tensor.shape, name.rpartition(".")[2]
        if tensor.dim() >= 2 and isinstance(tensor, torch.nn.Parameter):
            fan_in = max(1, tensor[0].numel())
            tensor.data = torch.randn(shape, generator=generator, dtype=precision) * (2 / fan_in) ** 0.5
        elif isinstance(tensor, torch.nn.Parameter) or last in ("running_mean", "running_var"):
            tensor.data = 0.5 + torch.rand(shape, generator=generator, dtype=precision)
    return module
