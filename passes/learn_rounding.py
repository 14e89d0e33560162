"""learn-rounding: every weight lies on its grid, at the integer that its layer's output wants."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..ir import rounding
from ..ir.facts import BATCHNORM_FOLDED, EXPORTED, RANGES_CALIBRATED, ROUNDING_LEARNED, Aspect, Fact
from ..ir.graph import editable, operator, set_tensor, tensor_of, up_to, with_tensors
from ..ir.state import register_quantized_operators
from ..quantization.adaround import Layer, Learned, Options, learn_rounding
from ..quantization.placement import Placement, tail
from ..quantization.weights import channel_axis
from .contract import Context, Lossy, Numerics
from .insert_quantization import InsertQuantization, floors_of, insert_activations
from .samples import calibration_batches

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor
    from torch.fx import GraphModule, Node

    from ..ir.state import ModelState
    from ..recipe.schema import Recipe
    from ..targets import Target

_MOST_VALUES = 2**26
"""Values of one tensor that are kept in memory (256 MiB); of larger tensors fewer samples are looked at."""


@dataclass(frozen=True)
class LearnRounding:
    """Weights are whole numbers of their "weight_scales", which are those that insert-quantization would choose.

    Layer after layer in the graph's order, on inputs as the layers before it, rounded, give them (AdaRound, Nagel et
    al. 2020, arXiv:2004.10568). Biases and ranges stay as they are, and so do zeros. A weight that several layers share
    is learned for the first. `quantization` is the pass that inserts the nodes.
    """

    name: ClassVar[str] = "learn-rounding"
    needs: ClassVar[frozenset[Fact]] = frozenset({EXPORTED, BATCHNORM_FOLDED, RANGES_CALIBRATED})
    makes: ClassVar[frozenset[Fact]] = frozenset({ROUNDING_LEARNED})
    touches: ClassVar[frozenset[Aspect]] = frozenset({Aspect.VALUES, Aspect.NUMERICS})
    """NUMERICS: the values must not be held as integers yet. The function moves by no more than rounding moves it."""
    keeps: ClassVar[frozenset[Fact]] = frozenset({EXPORTED})
    numerics: ClassVar[Numerics] = Lossy("weights are rounded, each to one of the two integers beside it")
    asks: ClassVar[str | None] = "compress.quantize.rounding"
    reads: ClassVar[frozenset[str]] = frozenset({"calibration"})
    decides: ClassVar[str] = "the integer of every weight, by its layer's output on the calibration samples"

    samples: int
    iterations: int
    batch_size: int
    learning_rate: float
    regularization: float
    warm_start: float
    quantization: InsertQuantization

    @classmethod
    def for_target(cls, target: Target, recipe: Recipe) -> Self | None:
        asked = recipe.compress.quantize
        quantization = InsertQuantization.for_target(target, recipe)
        if asked is None or asked.rounding.method == "nearest" or not isinstance(quantization, InsertQuantization):
            return None
        return cls(**asked.rounding.model_dump(exclude={"method"}), quantization=quantization)

    def run(self, state: ModelState, context: Context) -> ModelState:
        register_quantized_operators()
        program = state.exported_program()
        exact, rounded = editable(program), editable(program)
        insert = self.quantization
        placement = insert.placement(exact, state)
        grids = insert.grids(placement, state.attachments["ranges"])
        steps = {layer.node: grids[placement.groups[layer.input]].scale for layer in placement.layers}
        layers = _nodes(exact, placement)
        floors = floors_of(exact, layers, steps, insert.bias)
        known, store = state.attachments.get("weight_scales", {}), insert.store(exact, state)
        scales = {_weight(node): store.scales(node, floors[_weight(node)]) for node in layers}
        insert_activations(rounded, placement, grids, insert.rules.integer_only)
        rounded.recompile()
        learned = self._learned(exact, rounded, placement, scales, self._batches(state, context), context)
        _report(learned, placement, context)
        axes = {_weight(node): channel_axis(node) for node in layers}
        weights = {
            name: entry.integers * _along(scales[name], axes[name], entry.integers) for name, entry in learned.items()
        }
        after = replace(state, program=with_tensors(program, weights))
        after = after.with_attachment("weight_scales", {**known, **{name: scales[name].tolist() for name in learned}})
        return after.with_attachment(rounding.ATTACHMENT, axes)

    def _batches(self, state: ModelState, context: Context) -> list[tuple[Tensor, ...]]:
        """The samples' inputs, as many as fit into memory, in batches that the graph takes."""
        batches: list[tuple[Tensor, ...]] = []
        values = 0
        for batch in calibration_batches(state, context, self.samples):
            values += sum(part.numel() for part in batch.inputs)
            if batches and values > _MOST_VALUES:
                break
            batches.append(batch.inputs)
        return batches

    def _learned(
        self,
        exact: GraphModule,
        rounded: GraphModule,
        placement: Placement,
        scales: Mapping[str, Tensor],
        batches: Sequence[tuple[Tensor, ...]],
        context: Context,
    ) -> dict[str, Learned]:
        """What was learned for each weight, by its name; `rounded` has the weights. Resumes layer by layer."""
        learned: dict[str, Learned] = {}
        inside = {node.name: node for node in rounded.graph.nodes}
        layers = _nodes(exact, placement)
        with context.progress.task(self.name, len(layers) * self.iterations) as advance:
            for number, node in enumerate(layers):
                name = _weight(node)
                if name in learned:
                    advance(self.iterations, "")
                    continue
                file = context.scratch / f"rounding-{number}.safetensors"
                found = _stored(file)
                if found is None:
                    layer, batch = self._layer(exact, rounded, node, inside[node.name], scales[name], batches)
                    options = Options(self.iterations, batch, self.learning_rate, self.regularization, self.warm_start)
                    found = learn_rounding(layer, options, context.seed + number, lambda: advance(1, ""))
                    _store(file, found)
                else:
                    advance(self.iterations, "")
                learned[name] = found
                values = found.integers * _along(scales[name], channel_axis(node), found.integers)
                set_tensor(rounded, name, values)
        return learned

    def _layer(
        self,
        exact: GraphModule,
        rounded: GraphModule,
        node: Node,
        inside: Node,
        scales: Tensor,
        batches: Sequence[tuple[Tensor, ...]],
    ) -> tuple[Layer, int]:
        """The layer, and how many of its rows come from one step's samples."""
        end = tail(node, self.quantization.rules)
        wanted = _values(up_to(exact, end), batches)
        inputs = _values(up_to(rounded, inside.args[0]), batches)  # type: ignore[arg-type]
        import torch

        count = min(len(wanted), len(inputs))
        samples = sum(len(batch[0]) for batch in batches[:count])
        weight = tensor_of(exact, node.args[1]).detach()  # type: ignore[arg-type]
        given, made = torch.cat(inputs[:count]), torch.cat(wanted[:count])
        if operator(node) == "linear":
            given, made = given.reshape(-1, given.shape[-1]), made.reshape(-1, made.shape[-1])
        limit = 2 ** (self.quantization.weight_bits - 1) - 1
        along = _along(scales, channel_axis(node), weight)
        layer = Layer(weight, along, limit, _compute(exact, node, end), given, made)
        return layer, max(1, self.batch_size * len(given) // samples)


def _nodes(module: GraphModule, placement: Placement) -> list[Node]:
    nodes = {node.name: node for node in module.graph.nodes}
    return [nodes[layer.node] for layer in placement.layers]


def _weight(node: Node) -> str:
    """The name of the layer's weights."""
    return str(node.args[1].target)  # type: ignore[union-attr]


def _along(scales: Tensor, axis: int, weight: Tensor) -> Tensor:
    """The scales (C,) in a shape that broadcasts to the weight, whose output channels `axis` counts."""
    return scales.reshape([-1 if index == axis else 1 for index in range(weight.dim())])


def _compute(module: GraphModule, node: Node, end: Node) -> Callable[[Tensor, Tensor], Tensor]:
    """The layer's operator, and the activation that is fused into it, as a function of inputs and weights."""
    stored: Any = node.args[2] if len(node.args) > 2 else None
    bias = None if stored is None else tensor_of(module, stored).detach()
    layer, rest, options = node.target, node.args[3:], dict(node.kwargs)
    activation = end if end is not node else None

    def compute(inputs: Tensor, weight: Tensor) -> Tensor:
        value = layer(inputs, weight, bias, *rest, **options)  # type: ignore[operator]
        if activation is None:
            return value  # type: ignore[no-any-return]
        return activation.target(value, *activation.args[1:], **activation.kwargs)  # type: ignore[operator,no-any-return]

    return compute


def _values(module: Callable[..., Tensor], batches: Sequence[tuple[Tensor, ...]]) -> list[Tensor]:
    """What the graph gives for each batch, for as many as fit into memory."""
    import torch

    found: list[Tensor] = []
    values = 0
    with torch.no_grad():
        for batch in batches:
            found.append(module(*batch))
            values += found[-1].numel()
            if values + found[-1].numel() > _MOST_VALUES:
                break
    return found


def _store(file: Path, found: Learned) -> None:
    """The file holds what was learned, or is not there."""
    import torch
    from safetensors.torch import save_file

    figures = {"nearest_error": found.nearest_error, "error": found.error, "flipped": found.flipped}
    beside = file.with_suffix(".part")
    save_file({"integers": found.integers.to(torch.int8).contiguous()}, beside, {"figures": json.dumps(figures)})
    os.replace(beside, file)


def _stored(file: Path) -> Learned | None:
    from safetensors import safe_open

    if not file.is_file():
        return None
    with safe_open(file, "pt") as archive:
        return Learned(archive.get_tensor("integers").float(), **json.loads(archive.metadata()["figures"]))


def _report(learned: Mapping[str, Learned], placement: Placement, context: Context) -> None:
    moved = sum(entry.flipped for entry in learned.values())
    total = sum(entry.integers.numel() for entry in learned.values())
    parts = [entry.error / entry.nearest_error for entry in learned.values() if entry.nearest_error > 0]
    context.say(f"{moved} of {total} weights ({moved / max(total, 1):.1%}) are not rounded to the nearest integer")
    if parts:
        middle, least, most = statistics.median(parts), min(parts), max(parts)
        context.say(
            "the squared error of a layer's output, in parts of what rounding to the nearest costs:"
            f" {middle:.2f} in the middle, {least:.2f} to {most:.2f}"
        )
