"""prune-channels: the least important channels are gone, and tensors are physically smaller."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self, cast

from ..channels import Measure, Scope
from ..ir.errors import InputError, Problem, StepError
from ..ir.examples import example_inputs
from ..ir.facts import CHANNELS_PRUNED, Aspect, Fact
from ..ir.names import refuse_unknown
from ..ir.state import ModelState
from ..recipe.pruning import LEARNED, Criterion
from ..training.penalised import Regularization
from ..training.rounds import Curve, LoopTrainer, Rounds, in_rounds, recovery
from ..training.schedule import TrainingOptions
from .contract import Context, Lossy, Numerics, Skip
from .samples import calibration_batches

if TYPE_CHECKING:
    from torch import nn

    from ..channels.choice import Importance
    from ..channels.groups import ChannelGroup
    from ..channels.pruner import ChannelPruner, Rank
    from ..recipe.schema import Recipe
    from ..targets import Target

_UNITS = {"flops": "multiply-accumulates", "parameters": "parameters", "channels": "channels that can go"}
_NO_SCALES = "group-l2, or one that needs no training: no channel that can go has a batch norm with a scale to learn"
_STRENGTH, _EPOCHS = 1e-2, 1.0
"""How strongly and for how long a learned criterion is trained, where the recipe does not say."""
_WORTH_A_WARNING = 0.05
"""The part of the asked amount by which it may be missed without a warning."""


@dataclass(frozen=True)
class PruneChannels:
    """Takes `amount` of the network's `measure` away, in the steps and at the price that `Rounds` tell of.

    Criteria that are learned train the network by `regularize` before anything goes. Remaining widths are multiples of
    `multiple`. Modules in `keep` are not touched. See `channels.groups` for what can go, `channels.proof` for how that
    is made sure, `channels.choice` for what goes.
    """

    amount: float
    measure: Measure = "flops"
    criterion: Criterion = "l2"
    scope: Scope = "global"
    multiple: int = 1
    keep: tuple[str, ...] = ()
    steps: int = 1
    recover: TrainingOptions | None = None
    schedule: Curve = "linear"
    most_loss: float | None = None
    regularize: Regularization | None = None

    name: ClassVar[str] = "prune-channels"
    needs: ClassVar[frozenset[Fact]] = frozenset()
    makes: ClassVar[frozenset[Fact]] = frozenset({CHANNELS_PRUNED})
    touches: ClassVar[frozenset[Aspect]] = frozenset(
        {Aspect.SHAPES, Aspect.ZEROS, Aspect.VALUES, Aspect.FUNCTION, Aspect.RANGES}
    )
    keeps: ClassVar[frozenset[Fact]] = frozenset()
    numerics: ClassVar[Numerics] = Lossy("the channels that matter least are gone")
    asks: ClassVar[str | None] = "compress.prune"
    decides: ClassVar[str] = "which channels go, by their importance"

    @property
    def rounds(self) -> Rounds:
        """The steps in which channels go."""
        return Rounds(self.steps, self.schedule, self.recover, self.most_loss)

    @property
    def reads(self) -> frozenset[str]:
        """Taylor and entropy look at the calibration split; all training, and judging, read the train split."""
        read = {
            "calibration": self.criterion in ("taylor", "entropy"),
            "train": self.rounds.reads_train or self.regularize is not None,
        }
        return frozenset(split for split, is_read in read.items() if is_read)

    @classmethod
    def for_target(cls, target: Target, recipe: Recipe) -> Self | Skip | None:
        """Widths in the recipe's multiple, else in the target's; a Skip where neither would make it faster."""
        prune = recipe.compress.prune
        if prune is None or prune.granularity != "channel":
            return None
        multiple = prune.multiple or (target.pruning.channel_multiple if target.pruning else None)
        if multiple is None:
            return Skip(
                cls.name,
                f"the profile {target.name} does not say which widths its kernels want (pruning.channel_multiple);"
                " set compress.prune.multiple to prune all the same",
            )
        return cls(
            amount=prune.amount[0],
            measure=cast(Measure, prune.amount[1]),
            criterion=prune.criterion,
            scope=prune.scope,
            multiple=multiple,
            keep=prune.keep,
            steps=prune.steps,
            recover=recovery(recipe.compress, prune.recover_epochs),
            schedule=prune.schedule,
            most_loss=prune.most_loss,
            regularize=_regularization(recipe),
        )

    def run(self, state: ModelState, context: Context) -> ModelState:
        """The state with a smaller module and the edits that reproduce it from the user's network.

        InputError where `keep` names no module; StepError where nothing at all can be pruned.
        """
        from ..channels.pruner import ChannelPruner
        from ..channels.surgery import edits_between, merged

        before = state.torch_module()
        refuse_unknown(self.keep, before, "compress.prune.keep")
        module = copy.deepcopy(before).eval()
        pruner = ChannelPruner(
            module,
            example_inputs(state.inputs),
            measure=self.measure,
            scope=self.scope,
            multiple=self.multiple,
            keep=self.keep,
            seed=context.seed,
        )
        trainer = LoopTrainer(context.data, context.task, context.seed, context.scratch, context.progress, self.name)
        self._regularize(module, pruner, trainer, context)
        reached = [0.0]

        def prune(network: nn.Module, part: float) -> str:
            reached.append(pruner.prune_to(self.amount * part, self._ranking(state, context)))
            return f"{reached[-1]:.1%} of the {_UNITS[self.measure]} gone"

        module, held = in_rounds(module, self.rounds, prune, trainer, context.say, context.progress)
        edits = edits_between(before, module)
        if not edits and held:
            raise StepError(f"{self.name}: no layer can lose channels: {'; '.join(_by_reason(pruner.whole))}")
        self._tell(context, pruner.whole, reached[held], is_whole=held == self.steps)
        for line in _narrowed(before, module):
            context.say(line)
        return replace(state, module=module.eval(), edits=merged(state.edits, edits))

    def _ranking(self, state: ModelState, context: Context) -> Rank:
        """What ranks the units of groups by this pass's criterion."""
        from ..channels.importance import by_batchnorm, by_entropy, by_geometric_median, by_norm, by_random, by_taylor
        from ..training.losses import loss_for

        def rank(module: nn.Module, groups: Sequence[ChannelGroup]) -> Importance:
            match self.criterion:
                case "l1" | "l2" | "group-l2":
                    return by_norm(module, groups, 1 if self.criterion == "l1" else 2)
                case "batchnorm" | "slimming":
                    return by_batchnorm(module, groups)
                case "random":
                    return by_random(groups, context.seed)
                case "geometric-median":
                    return by_geometric_median(module, groups)
                case "entropy":
                    return by_entropy(module, groups, calibration_batches(state, context))
                case "taylor":
                    return by_taylor(module, groups, calibration_batches(state, context), loss_for(context.task))

        return rank

    def _regularize(self, module: nn.Module, pruner: ChannelPruner, trainer: LoopTrainer, context: Context) -> None:
        """What matters little to the loss has become small, where the criterion is learned."""
        from ..channels.penalties import group_lasso, has_scales, slimming
        from ..training.losses import loss_for
        from ..training.objective import HardLabels
        from ..training.penalised import Penalised

        if self.regularize is None:
            return
        groups, is_slimming = pruner.groups(), self.criterion == "slimming"
        if groups and is_slimming and not has_scales(module, groups):
            raise InputError(Problem("recipe", "compress.prune.criterion", _NO_SCALES, "slimming"))
        if not groups:
            return
        penalty, names = slimming if is_slimming else group_lasso, " ".join(group.name for group in groups)
        objective = Penalised(
            HardLabels(loss_for(context.task)),
            lambda: penalty(module, groups),
            self.regularize.strength,
            f"{self.criterion} of {names}",
        )
        result = trainer.train(module, self.regularize.training, "regularize", objective)
        penalties = f"{result.loss_before:.4g} -> {result.loss_after:.4g}"
        context.say(f"trained with the penalty of {self.criterion}: {penalties}; {trainer.judge(module)}")
        if result.best_epoch == 0:
            context.progress.warn(f"{self.name}: the penalty did not fall: a larger compress.prune.regularize may help")

    def _tell(self, context: Context, whole: Mapping[str, str], reached: float, *, is_whole: bool) -> None:
        """What was reached, and a warning where layers had no more to give; what was taken back is said before."""
        said = f"{reached:.1%} of the {_UNITS[self.measure]} are gone, asked for {self.amount:.1%}"
        context.say(said)
        if is_whole and reached < self.amount * (1 - _WORTH_A_WARNING):
            context.progress.warn(
                f"{self.name}: {said}: the layers that can lose channels have no more to give"
                f" ({len(whole)} are left whole; widths stay multiples of {self.multiple})"
            )
        for line in _by_reason(whole):
            context.say(line)


def _regularization(recipe: Recipe) -> Regularization | None:
    """How a learned criterion trains: as the recipe trains, and as long and as strongly as it says."""
    prune = recipe.compress.prune
    if prune is None or prune.criterion not in LEARNED:
        return None
    options = recovery(recipe.compress, prune.regularize_epochs or _EPOCHS)
    return Regularization(prune.regularize or _STRENGTH, options) if options else None


def _narrowed(before: nn.Module, after: nn.Module) -> list[str]:
    """A line for each layer that gives fewer channels than before."""
    lines = []
    for name, old in before.named_modules():
        for attribute in ("out_channels", "out_features", "hidden_size"):
            was, now = (vars(layer).get(attribute) for layer in (old, after.get_submodule(name)))
            if was != now:
                lines.append(f"{name}: {was} -> {now} channels")
    return lines


def _by_reason(whole: Mapping[str, str]) -> list[str]:
    """One line for each reason, with all the layers that it holds for."""
    layers: dict[str, list[str]] = {}
    for layer, reason in whole.items():
        layers.setdefault(reason, []).append(layer)
    return [f"left whole: {', '.join(names)}: {reason}" for reason, names in layers.items()]
