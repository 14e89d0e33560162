"""insert-quantization: explicit quantize and dequantize nodes, int8 weights and integer biases, from known ranges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..ir.facts import BIAS_CORRECTED, QUANTIZED, RANGES_CALIBRATED, ROUNDING_LEARNED, Aspect, Fact
from ..ir.graph import (
    editable,
    is_float_tensor,
    lifted,
    operator,
    outputs_of,
    tensor_of,
)
from ..ir.sharing import shared_counts
from ..ir.state import ModelState, register_quantized_operators
from ..quantization.forms import narrowed, remark, why_not
from ..quantization.grids import ActivationGrid, Grid, activation_grid, bias_steps, fraction_bits
from ..quantization.placement import LAYOUT, Placement, place
from ..quantization.refusals import refuse_float, refuse_nothing, refuse_unknown
from ..quantization.rules import Rules
from ..quantization.weights import WeightStore, channel_axis
from .contract import Context, Lossy, Numerics, Skip

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule, Node

    from ..recipe.schema import Recipe
    from ..targets import Target


FLOAT_LAYERS = "float_layers"
"""The attachment that names the modules which mixed precision keeps in float."""
_CHOSEN = "mixed precision keeps it in float"
_STEPS_OF_8_BITS = 255


@dataclass(frozen=True)
class InsertQuantization:
    """The graph computes what int8 kernels will compute: every tensor that they read or write lies on its grid."""

    name: ClassVar[str] = "insert-quantization"
    needs: ClassVar[frozenset[Fact]] = frozenset({RANGES_CALIBRATED})
    makes: ClassVar[frozenset[Fact]] = frozenset({QUANTIZED})
    touches: ClassVar[frozenset[Aspect]] = frozenset({Aspect.NUMERICS})
    keeps: ClassVar[frozenset[Fact]] = frozenset({ROUNDING_LEARNED, BIAS_CORRECTED})
    numerics: ClassVar[Numerics] = Lossy("activations and weights are rounded to eight bits")
    asks: ClassVar[str | None] = "compress.quantize"
    reads: ClassVar[frozenset[str]] = frozenset()
    decides: ClassVar[str] = ""

    activations: str
    symmetric: bool
    weight_bits: int
    weight_granularity: str
    power_of_two: bool
    bias: str
    keep_float: tuple[str, ...]
    per_tensor_weights: tuple[str, ...]
    allow_float: bool
    float_interface: bool
    rules: Rules

    @classmethod
    def for_target(cls, target: Target, recipe: Recipe) -> Self | Skip | None:
        asked, int8 = recipe.compress.quantize, target.quantization.int8_static
        if asked is None or not asked.is_static:
            return None
        if int8 is None:
            why = f"{target.name} has no static int8 kernels; ask for another target, or leave compress.quantize out"
            return Skip("static int8 quantization", why)
        if reason := why_not(int8, asked):
            return Skip("static int8 quantization", f"{target.name}: {reason}")
        int8 = narrowed(int8, asked)
        return cls(
            activations=int8.activations,
            symmetric=int8.symmetric_activations,
            weight_bits=int8.weight_bits,
            weight_granularity=int8.weight_granularity,
            power_of_two=int8.power_of_two,
            bias=int8.bias,
            keep_float=asked.keep_float,
            per_tensor_weights=int8.per_tensor_weights,
            allow_float=asked.allow_float or not int8.integer_only,
            float_interface=asked.float_interface or not int8.integer_only,
            rules=Rules.of(int8, asked.allow_float),
        )

    def run(self, state: ModelState, context: Context) -> ModelState:
        register_quantized_operators()
        program = state.exported_program()
        module = editable(program)
        placement = self.placement(module, state)
        refuse_nothing(placement)
        if not self.allow_float:
            refuse_float(module, placement)
        grids = self.grids(placement, state.attachments["ranges"])
        insert_activations(module, placement, grids, self.rules.integer_only)
        _insert_weights(module, self, placement, grids, state)
        _say(placement, context)
        if self.power_of_two:
            _say_fixed_point(placement, grids, context)
        summary = {
            "scales": {name: [grids[group].scale, grids[group].zero_point] for name, group in placement.groups.items()},
            "output_steps": [_step(node, grids, placement) for node in outputs_of(editable(program).graph)],
            "layers": [layer.module for layer in placement.layers],
            "left_float": dict(placement.left_float),
            "allow_float": self.allow_float,
            "float_interface": self.float_interface,
        }
        after = replace(state, program=lifted(module, program))
        return after.with_attachment("quantization", summary)

    def remark(self, target: Target) -> str:
        """What comes of fewer bits than the target's kernels take, and of more; empty where there are as many."""
        int8 = target.quantization.int8_static
        return "" if int8 is None else remark(int8, self.weight_bits, self.activations)

    def placement(self, module: GraphModule, state: ModelState) -> Placement:
        """Where quantization goes; layers stay float that the recipe names, or that mixed precision chose."""
        refuse_unknown(module, self.keep_float)
        chosen = state.attachments.get(FLOAT_LAYERS, ())
        found = place(module.graph, self.rules, (*self.keep_float, *chosen))
        told = {name: _CHOSEN if name in chosen else why for name, why in found.left_float.items()}
        return replace(found, left_float=told)

    def store(self, module: GraphModule, state: ModelState) -> WeightStore:
        """What gives the module's weights their integers and scales."""
        return WeightStore(
            module,
            self.weight_bits,
            self.weight_granularity,
            self.per_tensor_weights,
            state.attachments.get("weight_scales", {}),
            shared_counts(state),
            power_of_two=self.power_of_two,
        )

    def grids(self, placement: Placement, ranges: Mapping[str, list[float]]) -> dict[str, ActivationGrid]:
        """The grid of every scale, by its name: from its range, or as the target's kernels fix it."""
        form = Grid(self.activations, self.symmetric, self.power_of_two)
        grids = {name: activation_grid(ranges[name][0], ranges[name][1], form) for name in placement.observed.values()}
        fixed = placement.fixed.items()
        return grids | {name: replace(grids[name], scale=at.scale, zero_point=at.zero_point) for name, at in fixed}


def _insert_weights(
    module: GraphModule,
    options: InsertQuantization,
    placement: Placement,
    grids: Mapping[str, ActivationGrid],
    state: ModelState,
) -> None:
    """Every layer of the placement reads its weights, and its integer bias, through dequantize nodes."""
    store = options.store(module, state)
    nodes = {node.name: node for node in module.graph.nodes}
    steps = {layer.node: grids[placement.groups[layer.input]].scale for layer in placement.layers}
    floors = floors_of(module, [nodes[layer.node] for layer in placement.layers], steps, options.bias)
    for layer in placement.layers:
        node = nodes[layer.node]
        with module.graph.inserting_before(node):
            dequantized, scales = store.weight(node, floors[str(node.args[1].target)])
            arguments = [node.args[0], dequantized, *node.args[2:]]
            if options.bias == "int32" and len(arguments) > 2 and arguments[2] is not None:
                arguments[2] = store.bias(node, scales, steps[layer.node])
        node.args = tuple(arguments)


def floors_of(
    module: GraphModule, layers: Sequence[Node], steps: Mapping[str, float], bias_type: str
) -> dict[str, Tensor]:
    """For each weight, the least scale per channel with which the integer biases behind it fit into int32."""
    import torch

    floors: dict[str, Tensor] = {}
    for node in layers:
        bias: Any = node.args[2] if len(node.args) > 2 and bias_type == "int32" else None
        weight = str(node.args[1].target)  # type: ignore[union-attr]
        channels = tensor_of(module, node.args[1]).shape[channel_axis(node)]  # type: ignore[arg-type]
        largest = torch.zeros(channels) if bias is None else tensor_of(module, bias).detach().abs()
        floor = bias_steps(largest.reshape(-1, channels).amax(0), steps[node.name])
        floors[weight] = torch.maximum(floors.get(weight, floor), floor)
    return floors


def insert_activations(
    module: GraphModule, placement: Placement, grids: Mapping[str, ActivationGrid], is_integer_only: bool
) -> None:
    """A quantize and a dequantize node stand behind every tensor of the placement.

    What an int8 kernel computes is read in int8 by all; of what is float anyway, only int8 kernels read the grid.
    """
    import torch

    operators = torch.ops.quantized_decomposed
    for node in list(module.graph.nodes):
        if node.name not in placement.groups:
            continue
        grid = grids[placement.groups[node.name]]
        dtype = getattr(torch, grid.dtype)
        form = (grid.scale, grid.zero_point, grid.lowest, grid.highest, dtype)
        readers = [user for user in node.users if node.name in placement.computed or user.name in placement.consumers]
        with module.graph.inserting_after(node):
            quantized = module.graph.call_function(operators.quantize_per_tensor.default, (node, *form))
        with module.graph.inserting_after(quantized):
            dequantized = module.graph.call_function(operators.dequantize_per_tensor.default, (quantized, *form))
        dequantized.meta["val"] = node.meta["val"]
        if is_integer_only:
            _mark_way_out(module, node, dequantized, readers, placement.consumers)
        for reader in readers:
            reader.replace_input_with(node, dequantized)
            if (node.name, reader.name) in placement.requantized:
                _requantize(module, dequantized, reader, grids[placement.requantized[node.name, reader.name]])


def _mark_way_out(
    module: GraphModule, node: Node, dequantized: Node, readers: Sequence[Node], consumers: frozenset[str]
) -> None:
    """What computes in float reads the int8 tensor through a clone: a converter can see that it is no int8 kernel."""
    import torch

    for reader in readers:
        if reader.name in consumers or reader.op == "output" or operator(reader) in LAYOUT:
            continue
        with module.graph.inserting_before(reader):
            clone = module.graph.call_function(torch.ops.aten.clone.default, (dequantized,))
        reader.replace_input_with(node, clone)


def _requantize(module: GraphModule, node: Node, reader: Node, grid: ActivationGrid) -> None:
    """`reader` takes the dequantized `node` on a grid of its own."""
    import torch

    operators = torch.ops.quantized_decomposed
    form = (grid.scale, grid.zero_point, grid.lowest, grid.highest, getattr(torch, grid.dtype))
    with module.graph.inserting_before(reader):
        quantized = module.graph.call_function(operators.quantize_per_tensor.default, (node, *form))
        dequantized = module.graph.call_function(operators.dequantize_per_tensor.default, (quantized, *form))
    reader.replace_input_with(node, dequantized)


def _say_fixed_point(placement: Placement, grids: Mapping[str, ActivationGrid], context: Context) -> None:
    """The form of every activation's scale: so many bits before the point, its sign among them, and behind it."""
    forms: dict[str, list[str]] = {}
    for group in dict.fromkeys(placement.groups.values()):
        grid = grids[group]
        behind, bits = fraction_bits(grid.scale), (grid.highest - grid.lowest).bit_length()
        forms.setdefault(f"Q{bits - behind}.{behind}", []).append(group)
    for form, names in sorted(forms.items()):
        context.say(f"{form}: {', '.join(names)}")


def _step(node: Node, grids: Mapping[str, ActivationGrid], placement: Placement) -> float | None:
    """The quantization step that the output has, or would have in 8 bits; None for an output of whole numbers.

    A step of 16 bits is finer than what rounding in floats leaves of it behind a few layers.
    """
    if not is_float_tensor(node):
        return None
    grid = grids[placement.groups.get(node.name, node.name)]
    return grid.scale * max((grid.highest - grid.lowest) // _STEPS_OF_8_BITS, 1)


def _say(placement: Placement, context: Context) -> None:
    eligible = len(placement.layers) + len(placement.left_float)
    context.say(f"{len(placement.layers)} of {eligible} layers with weights in int8")
    for name, reason in placement.left_float.items():
        context.say(f"{name} stays float: {reason}")
    if placement.islands:
        counted = Counter(placement.islands.values()).most_common()
        told = ", ".join(f"{operator} ({count})" for operator, count in counted)
        context.say(f"computed in float between int8 tensors: {told}")
