"""quantize-weights: int8 weights under float activations, which dynamic layers quantize while they run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..ir.errors import InputError, Problem
from ..ir.facts import BATCHNORM_FOLDED, EXPORTED, QUANTIZED, Aspect, Fact
from ..ir.graph import editable, lifted, operator, set_tensor, tensor_of
from ..ir.sharing import shared_counts
from ..ir.state import ModelState, register_quantized_operators
from ..quantization.placement import WEIGHTED, layer_name, why_float
from ..quantization.refusals import refuse_unknown
from ..quantization.weights import WeightStore, channel_axis
from .contract import Context, Lossy, Numerics, Skip

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule, Node

    from ..recipe.quantization import Quantize
    from ..recipe.schema import Recipe
    from ..targets import Target

GROUP = 32
"""Inputs of a group where the recipe names no number."""


@dataclass(frozen=True)
class QuantizeWeights:
    """Layers read int8 weights through dequantize nodes; the inputs of dynamic ones go through a grid of their own.

    Jacob et al. 2018 (arXiv:1712.05877) for the weights; dynamic layers fit an asymmetric grid to each input tensor, as
    TensorFlow Lite's hybrid kernels and onnxruntime's DynamicQuantizeLinear do.
    """

    name: ClassVar[str] = "quantize-weights"
    needs: ClassVar[frozenset[Fact]] = frozenset({EXPORTED, BATCHNORM_FOLDED})
    makes: ClassVar[frozenset[Fact]] = frozenset({QUANTIZED})
    touches: ClassVar[frozenset[Aspect]] = frozenset({Aspect.NUMERICS})
    keeps: ClassVar[frozenset[Fact]] = frozenset()
    numerics: ClassVar[Numerics] = Lossy("weights are rounded to eight bits or four")
    asks: ClassVar[str | None] = "compress.quantize"
    reads: ClassVar[frozenset[str]] = frozenset()
    decides: ClassVar[str] = ""

    mode: str
    bits: int
    group: int | None
    granularity: str
    kernels: tuple[str, ...]
    per_tensor: tuple[str, ...]
    keep_float: tuple[str, ...]

    @classmethod
    def for_target(cls, target: Target, recipe: Recipe) -> Self | Skip | None:
        asked = recipe.compress.quantize
        if asked is None or asked.is_static or asked.precision != "int8":
            return None
        known, weights = target.quantization, asked.weights
        if weights.bits == 4:
            return cls._grouped(target, asked)
        can = known.int8_dynamic if asked.mode == "dynamic" else known.int8_weight_only
        if can is None:
            why = f"{target.name} has none that pays; ask for compress.quantize.mode: static, or for another target"
            return Skip(f"{asked.mode} int8 quantization", why)
        return cls(
            mode=str(asked.mode),
            bits=can.weight_bits,
            group=None,
            granularity=weights.granularity or can.weight_granularity,
            kernels=can.kernels,
            per_tensor=can.per_tensor_weights,
            keep_float=asked.keep_float,
        )

    @classmethod
    def _grouped(cls, target: Target, asked: Quantize) -> Self | Skip:
        can, what = target.quantization.int4_groups, "weights of four bits"
        if can is None:
            why = f"{target.name}'s runtime reads none; ask for weights.bits: 8, or for another target"
            return Skip(what, why)
        group = asked.weights.group or GROUP
        if group not in can.sizes:
            return Skip(what, f"{target.name}'s groups have {' or '.join(map(str, can.sizes))} inputs, not {group}")
        return cls("weight-only", 4, group, "per-group", can.kernels, (), asked.keep_float)

    def run(self, state: ModelState, context: Context) -> ModelState:
        import torch

        register_quantized_operators()
        program = state.exported_program()
        module = editable(program)
        refuse_unknown(module, self.keep_float)
        layers = [node for node in module.graph.nodes if operator(node) in WEIGHTED]
        left = {layer_name(node): why for node in layers if (why := why_float(node, self.kernels, self.keep_float))}
        chosen = [node for node in layers if layer_name(node) not in left]
        if not chosen:
            found = "; ".join(f"{name}: {why}" for name, why in left.items()) or "a network without such layers"
            raise InputError(Problem("recipe", "compress.quantize", "a layer whose weights can be int8", found))
        if self.group is not None:
            _refuse_sizes(module, chosen, self.group)
        store = WeightStore(module, self.bits, self.granularity, self.per_tensor, shared=shared_counts(state))
        for node in chosen if self.group is None else ():
            with module.graph.inserting_before(node):
                channels = tensor_of(module, node.args[1]).shape[channel_axis(node)]
                weights, _ = store.weight(node, torch.zeros(channels))
                source = _dynamic(module, node.args[0]) if self.mode == "dynamic" else node.args[0]
            node.args = (source, weights, *node.args[2:])
        for node in chosen if self.group is not None else ():
            name = str(node.args[1].target)
            set_tensor(module, name, on_groups(tensor_of(module, node.args[1]).detach(), self.group))  # type: ignore[arg-type]
        form = "int8 weights" if self.group is None else f"weights of {self.bits} bits in groups of {self.group}"
        context.say(f"{len(chosen)} of {len(layers)} layers with {form}")
        for name, reason in left.items():
            context.say(f"{name} keeps its float weights: {reason}")
        summary = {
            "mode": self.mode,
            "group": self.group,
            "layers": [layer_name(node) for node in chosen],
            "left_float": left,
        }
        return replace(state, program=lifted(module, program)).with_attachment("stored_weights", summary)


def on_groups(weight: Tensor, group: int) -> Tensor:
    """The weight (outputs, inputs) rounded to integers from -7 to 7 times a scale for each group of its inputs."""
    import torch

    parts = weight.reshape(len(weight), -1, group)
    scales = parts.abs().amax(-1, keepdim=True) / 7
    scales = torch.where(scales > 0, scales, torch.ones_like(scales))
    return ((parts / scales).round().clamp(-7, 7) * scales).reshape(weight.shape)


def _refuse_sizes(module: GraphModule, layers: list[Node], group: int) -> None:
    """InputError where a layer's inputs are no whole number of groups."""
    problems = []
    for node in layers:
        inputs = int(tensor_of(module, node.args[1]).shape[1])  # type: ignore[arg-type]
        if inputs % group:
            expected = f"a size that divides the {inputs} inputs of {layer_name(node)} (or keep_float for that layer)"
            problems.append(Problem("recipe", "compress.quantize.weights.group", expected, str(group)))
    if problems:
        raise InputError(problems)


def _dynamic(module: GraphModule, source: Any) -> Node:
    """`source` (...) on the asymmetric int8 grid that its own least and greatest value ask for."""
    import torch

    operators = torch.ops.quantized_decomposed
    limits = (-128, 127)
    smallest = torch.finfo(torch.float32).eps
    call = module.graph.call_function
    found = call(operators.choose_qparams.tensor, (source, *limits, smallest, torch.int8))
    scale, zero_point = (call(_getitem(), (found, place)) for place in range(2))
    form = (scale, zero_point, *limits, torch.int8)
    quantized = call(operators.quantize_per_tensor.tensor, (source, *form))
    return call(operators.dequantize_per_tensor.tensor, (quantized, *form))


def _getitem() -> Any:
    import operator

    return operator.getitem
