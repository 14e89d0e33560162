"""sparsify-2-4: two in each four weights along the input channels are zero, as sparse tensor cores want them.

Mishra et al. 2021, "Accelerating Sparse Deep Neural Networks" (arXiv:2104.08378): the two of smallest magnitude go, and
a short training with the zeros held wins the accuracy back.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from ..ir.errors import StepError
from ..ir.facts import SPARSE_2_4, Aspect, Fact
from ..ir.sparsity import ATTACHMENT, two_in_four
from ..ir.state import ModelState
from .contract import Context, Lossy, Numerics, Skip

if TYPE_CHECKING:
    from torch import nn

    from ..recipe.schema import Recipe
    from ..targets import Target

_INPUTS, _OUTPUTS = 16, 8
"""Widths that sparse kernels take: inputs and outputs in multiples of these (NVIDIA apex, contrib/sparsity/asp.py)."""


@dataclass(frozen=True)
class SparsifyTwoFour:
    """Convolutions and linear layers hold their two largest weights in each four along the input channels."""

    name: ClassVar[str] = "sparsify-2-4"
    needs: ClassVar[frozenset[Fact]] = frozenset()
    makes: ClassVar[frozenset[Fact]] = frozenset({SPARSE_2_4})
    touches: ClassVar[frozenset[Aspect]] = frozenset({Aspect.ZEROS, Aspect.VALUES, Aspect.FUNCTION, Aspect.RANGES})
    keeps: ClassVar[frozenset[Fact]] = frozenset()
    numerics: ClassVar[Numerics] = Lossy("half of the weights are zero")
    asks: ClassVar[str | None] = "compress.sparsify"
    reads: ClassVar[frozenset[str]] = frozenset()
    decides: ClassVar[str] = "which layers have the widths for it; two in four of their weights, by magnitude"

    @classmethod
    def for_target(cls, target: Target, recipe: Recipe) -> Self | Skip | None:
        """The pass where tensor cores use the zeros, a Skip where nothing does."""
        if recipe.compress.sparsify is None:
            return None
        if target.gpu is None:
            why = f"{target.runtime} has no sparse kernels on {target.name}"
        elif not target.gpu.sparsity_2_4:
            why = f"tensor cores of compute capability {target.gpu.compute_capability} do not skip zeros"
        else:
            return cls()
        return Skip("2:4 sparsity", f"{why}, so it would not be faster; ask for compress.prune")

    def run(self, state: ModelState, context: Context) -> ModelState:
        """The state with a sparse copy of its module. StepError, with each layer's reason, where no layer fits."""
        import torch

        module = copy.deepcopy(state.torch_module())
        layers = dict(_layers(module))
        left = {name: why for name, layer in layers.items() if (why := _why_dense(layer))}
        sparse = [name for name in layers if name not in left]
        if not sparse:
            reasons = "; ".join(f"{name}: {why}" for name, why in left.items()) or "it has no such layer"
            raise StepError(f"{self.name}: no layer can be 2:4 sparse: {reasons}")
        with torch.no_grad():
            for name in sparse:
                weight: torch.Tensor = layers[name].weight  # type: ignore[assignment]
                weight.mul_(two_in_four(weight))
        context.say(f"{len(sparse)} of {len(layers)} layers are 2:4 sparse")
        for name, why in left.items():
            context.say(f"{name} stays dense: {why}")
        return replace(state, module=module).with_attachment(ATTACHMENT, sparse)


def _layers(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Every convolution and linear layer, once, by its name."""
    from torch import nn

    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
    return [(name, layer) for name, layer in module.named_modules() if isinstance(layer, kinds)]


def _why_dense(layer: nn.Module) -> str:
    """Why a layer can't be sparse; empty where it can."""
    if not any(entry is layer.weight for entry in layer.parameters(recurse=False)):
        return "its weights are computed, not stored"
    if getattr(layer, "groups", 1) > 1:
        return f"it has {layer.groups} groups"
    outputs, inputs = layer.get_parameter("weight").shape[:2]
    if inputs % _INPUTS:
        return f"{inputs} inputs, not a multiple of {_INPUTS}"
    return f"{outputs} outputs, not a multiple of {_OUTPUTS}" if outputs % _OUTPUTS else ""
