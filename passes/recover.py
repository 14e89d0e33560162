"""recover: a short training run after the structure changed."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from ..ir.facts import ELEMENTS_PRUNED, RECOVERED, SPARSE_2_4, Aspect, Fact
from ..ir.zeros import held_weights
from ..training.schedule import TrainingOptions, options_of
from .contract import Context, Lossy, Numerics, Skip

if TYPE_CHECKING:
    from ..ir.state import ModelState
    from ..recipe.schema import Recipe
    from ..targets import Target


@dataclass(frozen=True)
class Recover(TrainingOptions):
    """The network is trained on, on the recipe's train split, and keeps its structure and its best weights."""

    name: ClassVar[str] = "recover"
    needs: ClassVar[frozenset[Fact]] = frozenset()
    makes: ClassVar[frozenset[Fact]] = frozenset({RECOVERED})
    touches: ClassVar[frozenset[Aspect]] = frozenset({Aspect.ZEROS, Aspect.VALUES, Aspect.FUNCTION, Aspect.RANGES})
    keeps: ClassVar[frozenset[Fact]] = frozenset({SPARSE_2_4, ELEMENTS_PRUNED})
    numerics: ClassVar[Numerics] = Lossy("weights are trained anew")
    asks: ClassVar[str | None] = "compress.recover"
    reads: ClassVar[frozenset[str]] = frozenset({"train"})
    decides: ClassVar[str] = "how many epochs, where patience is given, by the loss on held-out training samples"

    @classmethod
    def for_target(cls, target: Target, recipe: Recipe) -> Self | Skip | None:
        """The recipe's options on every target; None where the recipe does not ask for recovery."""
        asked = recipe.compress.recover
        if asked is None:
            return None
        return cls(**{**asked.model_dump(), "epochs": float(asked.epochs)})

    def run(self, state: ModelState, context: Context) -> ModelState:
        """The state with a trained copy of its module; resumes from the checkpoints in the step's scratch folder."""
        from ..training.loop import train

        module = copy.deepcopy(state.torch_module())
        result = train(
            module,
            context.data,
            context.task,
            options_of(self),
            seed=context.seed,
            scratch=context.scratch,
            progress=context.progress,
            name=self.name,
            masked=held_weights(state),
        )
        for line in result.lines():
            context.say(line)
        if result.best_epoch == 0:
            context.progress.warn("recover: no epoch bettered the weights it began with; a lower learning rate may")
        return replace(state, module=module)
