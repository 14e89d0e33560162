"""recover: a short training run after the structure changed."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from ..ir.facts import RECOVERED, Aspect, Fact
from .contract import Context, Lossy, Numerics, Skip

if TYPE_CHECKING:
    from ..ir.state import ModelState
    from ..recipe.schema import Recipe
    from ..targets import Target
    from ..training.loop import TrainingResult


@dataclass(frozen=True)
class Recover:
    """The network is trained on, on the recipe's train split, and keeps its structure and its best weights.

    `epochs` may be a fraction; `warmup` is the part of all steps in which the learning rate rises; `patience` is how
    many epochs in a row may pass without a better held-out loss (None: all epochs are run).
    """

    epochs: float
    optimizer: Literal["adamw", "sgd"]
    learning_rate: float
    weight_decay: float
    batch_size: int
    warmup: float
    patience: int | None

    name: ClassVar[str] = "recover"
    needs: ClassVar[frozenset[Fact]] = frozenset()
    makes: ClassVar[frozenset[Fact]] = frozenset({RECOVERED})
    touches: ClassVar[frozenset[Aspect]] = frozenset({Aspect.ZEROS, Aspect.VALUES, Aspect.FUNCTION, Aspect.RANGES})
    keeps: ClassVar[frozenset[Fact]] = frozenset()
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
        return cls(
            epochs=float(asked.epochs),
            optimizer=asked.optimizer,
            learning_rate=asked.learning_rate,
            weight_decay=asked.weight_decay,
            batch_size=asked.batch_size,
            warmup=asked.warmup,
            patience=asked.patience,
        )

    def run(self, state: ModelState, context: Context) -> ModelState:
        """The state with a trained copy of its module; resumes from the checkpoints in the step's scratch folder."""
        from ..training.loop import TrainingOptions, train

        module = copy.deepcopy(state.torch_module())
        options = TrainingOptions(**asdict(self))
        result = train(
            module,
            context.data,
            context.task,
            options,
            seed=context.seed,
            scratch=context.scratch,
            progress=context.progress,
            name=self.name,
        )
        _report(result, context)
        return replace(state, module=module)


def _report(result: TrainingResult, context: Context) -> None:
    before, after = f"{result.loss_before:.4f}", f"{result.loss_after:.4f}"
    context.say(f"{result.epochs_run:g} epochs; loss on held-out training samples {before} before, {after} after")
    if result.best_epoch < result.epochs_run:
        context.say(f"kept the weights after epoch {result.best_epoch:g}: later ones did no better on them")
    if result.stopped_early:
        context.say("stopped early: patience ran out")
    if result.best_epoch == 0:
        context.progress.warn("recover: no epoch bettered the weights it began with; a lower learning rate may")
