"""prune-blocks: the blocks that matter least are gone, and the network goes on with what they were given.

A block of a residual network adds to what it is given, so that the network without it is one that it half knows (Veit
et al. 2016, arXiv:1605.06431). Which matter least is measured by leaving each out, as in layer pruning of large
networks (Men et al. 2024, "ShortGPT", arXiv:2403.03853), but by the network's own loss.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self, cast

from ..ir.bypass import pass_by
from ..ir.errors import InputError, Problem, StepError
from ..ir.examples import example_inputs
from ..ir.facts import BLOCKS_PRUNED, Aspect, Fact
from ..ir.names import is_within, refuse_unknown
from ..ir.state import Edit, ModelState
from ..training.rounds import Curve, LoopTrainer, Rounds, in_rounds, recovery
from ..training.schedule import TrainingOptions
from .contract import Context, Lossy, Numerics
from .samples import calibration_batches

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..blocks.choice import Count, Judge
    from ..blocks.find import Blocks
    from ..recipe.schema import Recipe
    from ..targets import Target

Measure = Literal["blocks", "flops", "parameters"]
_UNITS = {"flops": "multiply-accumulates", "parameters": "parameters"}


@dataclass(frozen=True, kw_only=True)
class PruneBlocks:
    """So many blocks go, or the part `amount` of the network's flops or parameters; one after the other.

    After each the others are measured anew. Modules in `keep` stay. Steps, training between them and what they may
    cost are `Rounds`. See `blocks.find` for what a block is.
    """

    amount: float
    measure: Measure = "blocks"
    keep: tuple[str, ...] = ()
    steps: int = 1
    schedule: Curve = "linear"
    recover: TrainingOptions | None = None
    most_loss: float | None = None

    name: ClassVar[str] = "prune-blocks"
    needs: ClassVar[frozenset[Fact]] = frozenset()
    makes: ClassVar[frozenset[Fact]] = frozenset({BLOCKS_PRUNED})
    touches: ClassVar[frozenset[Aspect]] = frozenset(Aspect) - {Aspect.LAYOUT, Aspect.NUMERICS}
    keeps: ClassVar[frozenset[Fact]] = frozenset()
    numerics: ClassVar[Numerics] = Lossy("the blocks that matter least are gone")
    asks: ClassVar[str | None] = "compress.prune"
    decides: ClassVar[str] = "which blocks go, by how much worse the network is without each"

    @property
    def rounds(self) -> Rounds:
        """The steps in which blocks go."""
        return Rounds(self.steps, self.schedule, self.recover, self.most_loss)

    @property
    def reads(self) -> frozenset[str]:
        """Blocks are measured on the calibration split; training between steps and judging read the train split."""
        return frozenset({"calibration", "train"} if self.rounds.reads_train else {"calibration"})

    @classmethod
    def for_target(cls, target: Target, recipe: Recipe) -> Self | None:
        """The recipe's amount on every target: what is not there is computed nowhere."""
        prune = recipe.compress.prune
        if prune is None or prune.granularity != "block":
            return None
        return cls(
            amount=float(prune.amount[0]),
            measure=cast(Measure, prune.amount[1]),
            keep=prune.keep,
            steps=prune.steps,
            schedule=prune.schedule,
            recover=recovery(recipe.compress, prune.recover_epochs),
            most_loss=prune.most_loss,
        )

    def run(self, state: ModelState, context: Context) -> ModelState:
        """The state without the blocks, and with the edits that take them out of the user's network.

        InputError where `keep` names no module or more blocks are asked for than there are; StepError where none is.
        """
        from ..blocks.find import find_blocks

        before = state.torch_module()
        refuse_unknown(self.keep, before, "compress.prune.keep")
        module = copy.deepcopy(before).eval()
        inputs = example_inputs(state.inputs)
        blocks = find_blocks(module, inputs, self.keep)
        self._check(blocks)
        judge, count = self._judge(before, state, context), self._count(inputs)
        first, gone = count(module), list[str]()

        def prune(network: nn.Module, part: float) -> str:
            self._take(network, [name for name in blocks.found if name not in gone], gone, part, judge, count, first)
            return f"{len(gone)} of {len(blocks.found)} blocks gone"

        trainer = LoopTrainer(context.data, context.task, context.seed, context.scratch, context.progress, self.name)
        module, held = in_rounds(module, self.rounds, prune, trainer, context.say, context.progress)
        names = [name for name in gone if not _is_there(module, name)]
        if held and not names:
            raise StepError(f"{self.name}: the smallest block is more than {self.amount:.1%} of the {self._unit}")
        self._tell(blocks, names, 1 - count(module) / first, context)
        rest = tuple(edit for edit in state.edits if not is_within(edit.module, names))
        return replace(state, module=module, edits=(*rest, *(Edit(name, {}, {}, bypassed=True) for name in names)))

    @property
    def _unit(self) -> str:
        return _UNITS.get(self.measure, "blocks")

    def _check(self, blocks: Blocks) -> None:
        reasons = "; ".join(f"{name}: {why}" for name, why in blocks.whole.items())
        if not blocks.found:
            expected = reasons or "no module with weights gives a tensor of the shape that it is given"
            raise StepError(f"{self.name}: the network has no block that can go: {expected}")
        if self.measure == "blocks" and self.amount > len(blocks.found):
            expected = f"at most {len(blocks.found)}, for there are {', '.join(blocks.found)}"
            raise InputError(Problem("recipe", "compress.prune.blocks", expected, f"{self.amount:g}"))

    def _judge(self, before: nn.Module, state: ModelState, context: Context) -> Judge:
        """The task's loss on calibration samples; where it has none, how far the outputs are from what they were."""
        from ..blocks.choice import change, mean_loss, outputs_of
        from ..training.losses import has_loss, loss_for

        if has_loss(context.task):
            return lambda module: mean_loss(module, calibration_batches(state, context), loss_for(context.task))
        reference = outputs_of(before.eval(), calibration_batches(state, context))
        return lambda module: change(outputs_of(module, calibration_batches(state, context)), reference)

    def _count(self, inputs: tuple[Tensor, ...]) -> Count:
        from ..channels.costs import count_macs, count_parameters

        return count_parameters if self.measure == "parameters" else lambda module: count_macs(module, inputs)

    def _take(
        self,
        network: nn.Module,
        left: list[str],
        gone: list[str],
        part: float,
        judge: Judge,
        count: Count,
        first: float,
    ) -> None:
        """Blocks of `left` go, and are in `gone`, until that part of the amount is as near as it can be."""
        from ..blocks.choice import candidates, next_to_go

        by_number = self.measure == "blocks"
        while left:
            excess = self.amount * part - len(gone) if by_number else count(network) - first * (1 - self.amount * part)
            found = candidates(network, left, judge, count)
            if by_number:
                found = [replace(each, saved=1.0) for each in found]
            best = next_to_go(found, judge(network), excess)
            if best is None:
                return
            pass_by(network, best.name)
            left.remove(best.name)
            gone.append(best.name)

    def _tell(self, blocks: Blocks, gone: list[str], reached: float, context: Context) -> None:
        what = "multiply-accumulates" if self.measure == "blocks" else self._unit
        asked = f"{self.amount:g} blocks" if self.measure == "blocks" else f"{self.amount:.1%}"
        context.say(
            f"{len(gone)} of {len(blocks.found)} blocks and {reached:.1%} of the {what} are gone, asked {asked}"
        )
        for name in gone:
            context.say(f"gone: {name}")
        if not blocks.are_residual:
            context.say("no module gives back what it is given when its parameters are zero: layers were taken out")
        for name, why in blocks.whole.items():
            context.say(f"left whole: {name}: {why}")


def _is_there(module: nn.Module, name: str) -> bool:
    """Whether the block still has its parameters."""
    return any(True for _ in module.get_submodule(name).parameters())
