"""distill: the compressed network is trained by what the original or other teachers say of the train split."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from ..ir.errors import StepError
from ..ir.facts import ELEMENTS_PRUNED, RECOVERED, SPARSE_2_4, Aspect, Fact
from ..ir.zeros import held_weights
from ..recipe.datasets import UNLABELLED
from ..recipe.distillation import ORIGINAL
from ..recipe.other_networks import OtherNetwork
from ..recipe.training import Training
from ..training.feature_terms import FeatureOptions, terms_for
from ..training.mixed import Mixed
from ..training.schedule import TrainingOptions, options_of
from .contract import Context, Lossy, Numerics, Skip

if TYPE_CHECKING:
    from torch import nn

    from ..ir.state import ModelState
    from ..recipe.datasets import Split
    from ..recipe.schema import Recipe
    from ..targets import Target
    from ..training.distillation import Distillation, Teacher
    from ..training.result import TrainingResult

_FITTED = 64
"""Samples on which the adapters of hints are fitted."""
_KEY = "compress.distill.teacher"
Samples = Literal["train", "unlabelled", "both"]


@dataclass(frozen=True)
class TeacherNetwork:
    """Where a teacher comes from ("original": the network before any pass), which of its outputs, and its weight."""

    source: str = ORIGINAL
    weights: str | None = None
    output: int = 0
    share: float = 1.0

    @property
    def network(self) -> OtherNetwork:
        """The network, as the recipe's context loads it."""
        return OtherNetwork(self.source, self.weights, _KEY)


@dataclass(frozen=True, kw_only=True)
class Distill(TrainingOptions):
    """The network is trained on and keeps its structure and its best weights.

    `samples` are those of the train split, of a split without labels, or of both. (1 - `alpha`) of the loss is that of
    the labels, `alpha` that of the teachers' outputs at `temperature`, and `features` adds what is compared inside.
    With `alpha` 1 labels are never looked at. In each of `rounds` the compressed network is trained anew, first by
    `teachers`, then by what came of the round before; the best is kept (Furlanello et al. 2018, "Born-Again Neural
    Networks", arXiv:1805.04770). `minutes` are those of a round.
    """

    teachers: tuple[TeacherNetwork, ...]
    temperature: float
    alpha: float
    samples: Samples
    rounds: int
    features: FeatureOptions

    name: ClassVar[str] = "distill"
    needs: ClassVar[frozenset[Fact]] = frozenset()
    makes: ClassVar[frozenset[Fact]] = frozenset({RECOVERED})
    touches: ClassVar[frozenset[Aspect]] = frozenset({Aspect.ZEROS, Aspect.VALUES, Aspect.FUNCTION, Aspect.RANGES})
    keeps: ClassVar[frozenset[Fact]] = frozenset({SPARSE_2_4, ELEMENTS_PRUNED})
    numerics: ClassVar[Numerics] = Lossy("weights are trained anew")
    asks: ClassVar[str | None] = "compress.distill"
    decides: ClassVar[str] = "how many epochs, where patience is given, by the loss on held-out training samples"

    @property
    def reads(self) -> frozenset[str]:
        """The splits that are trained on."""
        return frozenset({"train", UNLABELLED} if self.samples == "both" else {self.samples})

    @property
    def networks(self) -> tuple[OtherNetwork, ...]:
        """The teachers that are not the original, whose own fingerprint is in every key."""
        return tuple(teacher.network for teacher in self.teachers if teacher.source != ORIGINAL)

    @classmethod
    def for_target(cls, target: Target, recipe: Recipe) -> Self | Skip | None:
        """The recipe's options on every target; None where the recipe does not ask for distillation."""
        asked = recipe.compress.distill
        if asked is None:
            return None
        training = asked.model_dump(include=set(Training.model_fields))
        features = asked.model_dump(include=set(FeatureOptions.__dataclass_fields__))
        return cls(
            **{**training, "epochs": float(asked.epochs)},
            teachers=tuple(TeacherNetwork(**teacher.model_dump()) for teacher in asked.all_teachers),
            temperature=asked.temperature,
            alpha=asked.alpha,
            samples=asked.samples,
            rounds=asked.rounds,
            features=FeatureOptions(**features),
        )

    def run(self, state: ModelState, context: Context) -> ModelState:
        """The state with a trained copy of its module; resumes from what is kept in the step's scratch folder.

        InputError where a split is missing, a teacher does not fit, or a layer is none of the network's.
        """
        from ..training.distillation import Teacher

        before = state.torch_module()
        training, held_out = parts = self._parts(context)
        teachers = self._load(context)
        self._taught(before, teachers, self.features, training, context)  # what does not fit is said before anything
        self._compare(context, held_out, teachers, before, "before")
        rounds: list[tuple[TrainingResult, nn.Module]] = []
        for number in range(1, self.rounds + 1):
            student = copy.deepcopy(before)
            masked = held_weights(state)
            rounds.append((self._train(student, teachers, number, parts, context, masked), student))
            teachers = [Teacher(copy.deepcopy(student))]
        best = min(rounds, key=lambda entry: entry[0].loss_after)
        self._tell(context, [result for result, _ in rounds], best[0])
        self._compare(context, held_out, [], best[1], "after")
        return replace(state, module=best[1])

    def _parts(self, context: Context) -> tuple[Split, Split]:
        """What is trained on, and what judges the weights: held out of the train split where that is read."""
        from ..training.held_out import parts_of

        first = UNLABELLED if self.samples == UNLABELLED else "train"
        training, held_out = parts_of(context.data.split(first), context.seed)
        if self.samples != "both":
            return training, held_out
        return Mixed(training, context.data.split(UNLABELLED)), held_out

    def _load(self, context: Context) -> list[Teacher]:
        from ..training.distillation import Teacher

        networks = [self._network(teacher, context) for teacher in self.teachers]
        return [
            Teacher(network, teacher.share, teacher.output)
            for network, teacher in zip(networks, self.teachers, strict=True)
        ]

    def _network(self, teacher: TeacherNetwork, context: Context) -> nn.Module:
        if teacher.source == ORIGINAL and context.original is not None:
            return context.original()
        if teacher.source != ORIGINAL and context.other is not None:
            return context.other(teacher.network)
        raise StepError(f"{self.name}: no recipe is at hand from which the teacher {teacher.source} could be loaded")

    def _train(
        self,
        student: nn.Module,
        teachers: Sequence[Teacher],
        number: int,
        parts: tuple[Split, Split],
        context: Context,
        masked: Sequence[str],
    ) -> TrainingResult:
        from ..training.loop import train

        name = self.name if self.rounds == 1 else f"{self.name}: round {number} of {self.rounds}"
        features = self.features if number == 1 else self.features.of_one_network()
        taught = self._taught(student, teachers, features, parts[0], context)
        return train(
            student,
            context.data,
            context.task,
            options_of(self),
            seed=context.seed,
            scratch=context.scratch,
            progress=context.progress,
            name=name,
            masked=masked,
            objective=self._with_kept_outputs(taught, parts[0], context, name),
            parts=parts,
        )

    def _taught(
        self,
        student: nn.Module,
        teachers: Sequence[Teacher],
        features: FeatureOptions,
        training: Split,
        context: Context,
    ) -> Distillation:
        """What is minimised, once teachers and layers are seen to fit."""
        from ..training.distillation import Distillation
        from ..training.layout import lay_channels_last
        from ..training.seeds import seed_everything
        from ..training.soft_labels import SoftLabels

        size = _FITTED if features.hints else 2
        seed_everything(context.seed, -2)
        example = next(iter(training.batches(size, limit=size))).inputs
        for teacher in teachers:
            lay_channels_last(teacher.network, lambda: example)
        terms = terms_for(features, student, teachers[0].network, example)
        soft = SoftLabels(context.task, self.temperature)
        labelled = len(training.labelled) if isinstance(training, Mixed) else None
        taught = Distillation(student, teachers, soft, self.alpha, terms, features, labelled=labelled)
        taught.check(example)
        return taught

    def _with_kept_outputs(self, taught: Distillation, training: Split, context: Context, name: str) -> Distillation:
        """The same with the teachers' outputs on the disk, where nothing else is asked for, and more than once."""
        from ..training.kept_targets import KeptTargets, keep
        from ..training.objective import moved

        if taught.terms or self.epochs <= 1:
            return taught
        device = _device()
        taught.start(device)
        folder = context.scratch / f"outputs-{taught.identity[:16]}"
        kept = keep(training, lambda batch: taught.targets(moved(batch, device)), folder, context.progress, name)
        if isinstance(kept, KeptTargets):
            return replace(taught, kept=kept)
        context.say(f"the teacher was asked in every step: {kept}")
        return taught

    def _compare(
        self, context: Context, held_out: Split, teachers: Sequence[Teacher], student: nn.Module, when: str
    ) -> None:
        """A line for each network: how it stands on the held-out samples, and what it costs."""
        from ..channels.costs import count_macs
        from ..training.comparison import standing

        titles = [f"teacher {teacher.source}" for teacher in self.teachers] if teachers else []
        named = [(title, teacher.network, teacher.output) for title, teacher in zip(titles, teachers, strict=True)]
        example = next(iter(held_out.batches(1, limit=1))).inputs
        for title, network, output in [*named, (f"student {when}", student, 0)]:
            labelled = self.alpha < 1
            stands = standing(
                network, held_out, context.task, context.seed, _device(), output=output, has_labels=labelled
            )
            context.say(f"{title}: {replace(stands, macs=round(count_macs(network, example)))}")
        if when == "after" and any(teacher.source == ORIGINAL for teacher in self.teachers):
            context.say(
                "in the build's table the float baseline is the teacher, and the artifact what became of the student"
            )

    def _tell(self, context: Context, results: Sequence[TrainingResult], best: TrainingResult) -> None:
        for number, result in enumerate(results, 1):
            title = f"round {number}: " if len(results) > 1 else ""
            for line in result.lines():
                context.say(f"{title}{line}")
        if len(results) > 1:
            context.say(f"kept the student of round {results.index(best) + 1}, whose loss is the least")
        if best.best_epoch == 0:
            context.progress.warn("distill: no epoch bettered the weights it began with; a lower learning rate may")


def _device() -> Any:
    """Where networks are trained."""
    from accelerate.accelerator import Accelerator

    return Accelerator().device
