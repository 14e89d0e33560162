"""train-quantized: weights and step sizes are trained with everything rounded as the artifact will round it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from ..ir.facts import (
    BATCHNORM_FOLDED,
    EXPORTED,
    QUANTIZATION_TRAINED,
    RANGES_CALIBRATED,
    RECOVERED,
    WEIGHTS_SHARED,
    Aspect,
    Fact,
)
from ..ir.graph import editable, fixed_batch, operator, tensor_of, with_tensors
from ..ir.sharing import are_fixed, shared_counts
from ..ir.state import register_quantized_operators
from ..quantization.fake_quantize import averaged_range, largest_weight, learned_range, learned_weight
from ..quantization.grids import ActivationGrid, Grid, weight_scales
from ..quantization.placement import Placement
from ..quantization.trainable import GRAPH, Trainable, trainable, untrained
from ..quantization.weights import channel_axis
from ..recipe.training import Training
from ..training.schedule import Schedule, TrainingOptions, options_of, pieces
from .contract import Context, Lossy, Numerics
from .insert_quantization import InsertQuantization, floors_of, insert_activations

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram
    from torch.fx import GraphModule, Node

    from ..ir.state import ModelState
    from ..recipe.schema import Recipe
    from ..targets import Target
    from ..training.loop import TrainingResult
    from ..training.objective import Objective


@dataclass(frozen=True, kw_only=True)
class TrainQuantized(TrainingOptions):
    """The weights, "ranges" and "weight_scales" are those that rounding costs least on the train split.

    `quantization` is the pass that inserts the nodes: training sees the very same grids in the very same places. The
    graph is one for evaluation, so that dropout has no part in the training and batch norm is folded. What is zero in
    a weight stays zero, and weights that share a value go on sharing one.
    """

    name: ClassVar[str] = "train-quantized"
    needs: ClassVar[frozenset[Fact]] = frozenset({EXPORTED, BATCHNORM_FOLDED, RANGES_CALIBRATED})
    makes: ClassVar[frozenset[Fact]] = frozenset({QUANTIZATION_TRAINED})
    touches: ClassVar[frozenset[Aspect]] = frozenset({Aspect.VALUES, Aspect.FUNCTION, Aspect.RANGES, Aspect.NUMERICS})
    """NUMERICS: the values must not be held as integers yet."""
    keeps: ClassVar[frozenset[Fact]] = frozenset({EXPORTED, RANGES_CALIBRATED, RECOVERED, WEIGHTS_SHARED})
    numerics: ClassVar[Numerics] = Lossy("weights are trained to be rounded")
    asks: ClassVar[str | None] = "compress.quantize.mode"
    reads: ClassVar[frozenset[str]] = frozenset({"train"})
    decides: ClassVar[str] = "the weights and every step, by the loss of the rounded network on the train split"

    method: Literal["lsq", "moving-average"]
    freeze_after: float
    temperature: float | None
    alpha: float | None
    quantization: InsertQuantization

    @classmethod
    def for_target(cls, target: Target, recipe: Recipe) -> Self | None:
        asked = recipe.compress.quantize
        quantization = InsertQuantization.for_target(target, recipe)
        if asked is None or asked.training is None or not isinstance(quantization, InsertQuantization):
            return None
        options = asked.training
        training = options.model_dump(include=set(Training.model_fields))
        return cls(
            **{**training, "epochs": float(options.epochs)},
            method=options.method,
            freeze_after=options.freeze_after,
            temperature=options.distill.temperature if options.distill else None,
            alpha=options.distill.alpha if options.distill else None,
            quantization=quantization,
        )

    def run(self, state: ModelState, context: Context) -> ModelState:
        trained, result = self.trained(state, context)
        _report(result, context)
        program = with_tensors(state.exported_program(), trained.tensors)
        ranges = {name: list(module.bounds()) for name, module in trained.ranges.items()}
        after = replace(state, program=program)
        after = after.with_attachment("ranges", {**state.attachments["ranges"], **ranges})
        return after.with_attachment("weight_scales", _scales(trained))

    def trained(self, state: ModelState, context: Context) -> tuple[Trainable, TrainingResult]:
        """The network after training; resumes from the checkpoints in the step's scratch folder."""
        from ..training.loop import train

        program = state.exported_program()
        shared = shared_counts(state)
        network = self._trainable(state, self._freeze_step(context), shared)
        if are_fixed(state):
            for name in shared:
                network.tensors[name].requires_grad_(False)
        result = train(
            network.network,
            context.data,
            context.task,
            options_of(self),
            seed=context.seed,
            scratch=context.scratch,
            progress=context.progress,
            name=self.name,
            objective=self._objective(program, network.network, context.task),
            shared=[f"{GRAPH}.{name}" for name in shared],
        )
        return network, result

    def _objective(self, program: ExportedProgram, student: nn.Module, task: str) -> Objective | None:
        """The float network teaches; None where the labels alone do."""
        from ..training.distillation import Distillation, Teacher
        from ..training.soft_labels import SoftLabels

        if self.temperature is None or self.alpha is None:
            return None
        teacher = Teacher(untrained(editable(program), fixed_batch(program)))
        return Distillation(student, [teacher], SoftLabels(task, self.temperature), self.alpha)

    def _freeze_step(self, context: Context) -> int:
        """The last inference of the training in which ranges and step sizes learn; a step has one for each part."""
        from ..training.held_out import parts_of

        training, _ = parts_of(context.data.split("train"), context.seed)
        schedule = Schedule(len(training), options_of(self))
        own = pieces(schedule.batch_size, self.processes)[0]
        return round(self.freeze_after * schedule.steps) * len(pieces(own.stop, self.parts))

    def _trainable(self, state: ModelState, freeze_step: int, shared: Collection[str]) -> Trainable:
        """The program as a network that computes what it will compute once its nodes are inserted."""
        register_quantized_operators()
        program, ranges = state.exported_program(), state.attachments["ranges"]
        module = editable(program)
        insert = self.quantization
        placement = insert.placement(module, state)
        grids = insert.grids(placement, ranges)
        used = list(dict.fromkeys([*placement.groups.values(), *placement.requantized.values()]))
        numbered = {name: replace(grids[name], scale=float(number)) for number, name in enumerate(used, 1)}
        insert_activations(module, placement, numbered, insert.rules.integer_only)
        modules = {numbered[name].scale: (name, self._range(name, placement, grids, ranges)) for name in used}
        steps = {layer.node: grids[placement.groups[layer.input]].scale for layer in placement.layers}
        nodes = {node.name: node for node in module.graph.nodes}
        floors = floors_of(module, [nodes[layer.node] for layer in placement.layers], steps, insert.bias)
        return trainable(
            module,
            placement,
            modules,
            lambda node: self._weight(module, node, floors[str(node.args[1].target)], shared),  # type: ignore[union-attr]
            insert.bias == "int32",
            freeze_step,
            fixed_batch(program),
        )

    def _range(
        self, name: str, placement: Placement, grids: Mapping[str, ActivationGrid], ranges: Mapping[str, list[float]]
    ) -> Any:
        is_fixed, is_symmetric = name in placement.fixed, self.quantization.symmetric
        if is_fixed or self.method == "lsq":
            return learned_range(grids[name], is_symmetric, is_fixed)
        low, high = ranges[name]
        return averaged_range(low, high, Grid(self.quantization.activations, is_symmetric))

    def _weight(self, module: GraphModule, node: Node, floor: Tensor, shared: Collection[str]) -> Any:
        insert, axis = self.quantization, channel_axis(node)
        is_single = operator(node) in insert.per_tensor_weights or insert.weight_granularity == "per-tensor"
        is_single |= str(node.args[1].target) in shared  # type: ignore[union-attr]
        granularity = "per-tensor" if is_single else "per-channel"
        limit = 2 ** (insert.weight_bits - 1) - 1
        if self.method == "moving-average":
            return largest_weight(floor, axis, limit, granularity)
        weight = tensor_of(module, node.args[1]).detach()  # type: ignore[arg-type]
        return learned_weight(
            weight_scales(weight.transpose(0, axis), limit, granularity, floor), floor, axis, limit, is_single
        )


def _scales(trained: Trainable) -> dict[str, list[float]]:
    """The scales (C,) of every weight, by the stored tensor's name."""
    import torch

    with torch.no_grad():
        return {name: module.scales(trained.tensors[name]).tolist() for name, module in trained.weights.items()}


def _report(result: TrainingResult, context: Context) -> None:
    for line in result.lines("the rounded network"):
        context.say(line)
    if result.best_epoch == 0:
        context.progress.warn("train-quantized: no epoch bettered what calibration gave; a lower learning rate may")
