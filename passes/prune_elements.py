"""prune-elements: the smallest weights are zero, one by one, and stay so while the network is trained.

Han et al. 2015, "Learning both Weights and Connections for Efficient Neural Networks", arXiv:1506.02626. Tensors keep
their shapes: the file is as large as before until it is compressed.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from ..ir.errors import StepError
from ..ir.facts import ELEMENTS_PRUNED, SPARSE_2_4, Aspect, Fact
from ..ir.names import is_within, refuse_unknown
from ..ir.zeros import ATTACHMENT
from ..training.rounds import Curve, LoopTrainer, Rounds, in_rounds, recovery
from ..training.schedule import TrainingOptions
from .contract import Context, Lossy, Numerics

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..ir.state import ModelState
    from ..recipe.schema import Recipe
    from ..targets import Target

Weights = Mapping[str, "Tensor"]


@dataclass(frozen=True, kw_only=True)
class PruneElements:
    """The part `weights` of the weights of layers with products is zero, or all those that are below `threshold`.

    Weights are ranked by their size, over all layers together or (`per-layer`) in each tensor alone. Modules in `keep`
    stay as they are. Steps, training between them and what they may cost are `Rounds`.
    """

    weights: float | None = None
    threshold: float | None = None
    scope: str = "global"
    keep: tuple[str, ...] = ()
    steps: int = 1
    schedule: Curve = "linear"
    recover: TrainingOptions | None = None
    most_loss: float | None = None

    name: ClassVar[str] = "prune-elements"
    needs: ClassVar[frozenset[Fact]] = frozenset()
    makes: ClassVar[frozenset[Fact]] = frozenset({ELEMENTS_PRUNED})
    touches: ClassVar[frozenset[Aspect]] = frozenset({Aspect.ZEROS, Aspect.VALUES, Aspect.FUNCTION, Aspect.RANGES})
    keeps: ClassVar[frozenset[Fact]] = frozenset({SPARSE_2_4})
    """More zeros leave no more than two in four."""
    numerics: ClassVar[Numerics] = Lossy("the smallest weights are zero")
    asks: ClassVar[str | None] = "compress.prune"
    decides: ClassVar[str] = "which weights, by their size"

    @property
    def rounds(self) -> Rounds:
        """The steps in which weights go."""
        return Rounds(self.steps, self.schedule, self.recover, self.most_loss)

    @property
    def reads(self) -> frozenset[str]:
        """Training between steps and judging them read the train split."""
        return frozenset({"train"}) if self.rounds.reads_train else frozenset()

    @classmethod
    def for_target(cls, target: Target, recipe: Recipe) -> Self | None:
        """The recipe's amount on every target: whether it is faster there, `remark` says."""
        prune = recipe.compress.prune
        if prune is None or prune.granularity != "element":
            return None
        return cls(
            weights=prune.weights,
            threshold=prune.threshold,
            scope=prune.scope,
            keep=prune.keep,
            steps=prune.steps,
            schedule=prune.schedule,
            recover=recovery(recipe.compress, prune.recover_epochs),
            most_loss=prune.most_loss,
        )

    def remark(self, target: Target) -> str:
        """What this target makes of single zeros."""
        if target.pruning is not None and target.pruning.skips_zeros:
            return f"kernels of {target.name} skip zeros: the build's latency says by how much that is faster"
        return (
            f"{target.runtime}'s kernels compute with zeros as with any number: the artifact is smaller when"
            " compressed, not faster; compress.prune.granularity: channel makes it faster"
        )

    def run(self, state: ModelState, context: Context) -> ModelState:
        """The state with zeros in a copy of its module. InputError where `keep` names no module of it."""
        before = state.torch_module()
        refuse_unknown(self.keep, before, "compress.prune.keep")
        names = _prunable(before, self.keep)
        if not names:
            raise StepError(f"{self.name}: no layer with weights is left to prune")
        module, _ = in_rounds(
            copy.deepcopy(before).eval(),
            self.rounds,
            lambda network, part: self._prune({name: network.get_parameter(name) for name in names}, part),
            LoopTrainer(
                context.data, context.task, context.seed, context.scratch, context.progress, self.name, masked=names
            ),
            context.say,
            context.progress,
        )
        weights = {name: module.get_parameter(name) for name in names}
        context.say(_share(weights))
        for name, weight in weights.items():
            context.say(f"{name}: {_share({name: weight})}")
        zeros = {name: _zeros(weight) for name, weight in weights.items()}
        return replace(state, module=module.eval()).with_attachment(ATTACHMENT, zeros)

    def _prune(self, weights: Weights, part: float) -> str:
        """That part of the amount is zero, what was zero before included."""
        import torch

        with torch.no_grad():
            if self.threshold is not None:
                for weight in weights.values():
                    weight.mul_(weight.abs() >= self.threshold)
                return _share(weights)
            for group in [[*weights.values()]] if self.scope == "global" else [[weight] for weight in weights.values()]:
                _zero_smallest(group, (self.weights or 0.0) * part)
        return _share(weights)


def _prunable(module: nn.Module, keep: tuple[str, ...]) -> list[str]:
    """The weights of layers with products, each tensor once; biases and what norms hold are too few to matter."""
    from torch import nn
    from torch.nn.modules.conv import _ConvNd

    found: dict[int, str] = {}
    for name, layer in module.named_modules():
        if not isinstance(layer, _ConvNd | nn.Linear | nn.RNNBase) or is_within(name, keep):
            continue
        for key, parameter in layer.named_parameters(recurse=False):
            if key.startswith("weight"):
                found.setdefault(id(parameter), f"{name}.{key}" if name else key)
    return sorted(found.values())


def _zero_smallest(weights: list[Tensor], part: float) -> None:
    """The part of all these values that is smallest in size is zero."""
    import torch

    sizes = torch.cat([weight.abs().flatten() for weight in weights])
    smallest = sizes.topk(round(part * sizes.numel()), largest=False).indices
    kept = torch.ones_like(sizes, dtype=torch.bool)
    kept[smallest] = False
    masks = torch.split(kept, [weight.numel() for weight in weights])
    for weight, mask in zip(weights, masks, strict=True):
        weight.mul_(mask.reshape(weight.shape))


def _zeros(weight: Tensor) -> int:
    return int((weight == 0).sum())


def _share(weights: Weights) -> str:
    zeros, count = sum(map(_zeros, weights.values())), sum(weight.numel() for weight in weights.values())
    return f"{zeros / count:.1%} of {count:,} weights are zero"
