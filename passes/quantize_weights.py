"""quantize-weights: int8 weights under float activations, which dynamic layers quantize while they run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..ir.errors import InputError, Problem
from ..ir.facts import BATCHNORM_FOLDED, EXPORTED, QUANTIZED, Aspect, Fact
from ..ir.graph import editable, lifted, operator, tensor_of
from ..ir.sharing import shared_counts
from ..ir.state import ModelState, register_quantized_operators
from ..quantization.placement import WEIGHTED, layer_name, why_float
from ..quantization.refusals import refuse_unknown
from ..quantization.weights import WeightStore, channel_axis
from .contract import Context, Lossy, Numerics, Skip

if TYPE_CHECKING:
    from torch.fx import GraphModule, Node

    from ..recipe.schema import Recipe
    from ..targets import Target

BITS = 8


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
    numerics: ClassVar[Numerics] = Lossy("weights are rounded to eight bits")
    asks: ClassVar[str | None] = "compress.quantize"
    reads: ClassVar[frozenset[str]] = frozenset()
    decides: ClassVar[str] = ""

    mode: str
    granularity: str
    kernels: tuple[str, ...]
    per_tensor: tuple[str, ...]
    keep_float: tuple[str, ...]

    @classmethod
    def for_target(cls, target: Target, recipe: Recipe) -> Self | Skip | None:
        asked = recipe.compress.quantize
        if asked is None or asked.is_static or asked.precision != "int8":
            return None
        known = target.quantization
        can = known.int8_dynamic if asked.mode == "dynamic" else known.int8_weight_only
        if can is None:
            why = f"{target.name} has none that pays; ask for compress.quantize.mode: static, or for another target"
            return Skip(f"{asked.mode} int8 quantization", why)
        return cls(
            mode=str(asked.mode),
            granularity=can.weight_granularity,
            kernels=can.kernels,
            per_tensor=can.per_tensor_weights,
            keep_float=asked.keep_float,
        )

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
        store = WeightStore(module, BITS, self.granularity, self.per_tensor, shared=shared_counts(state))
        for node in chosen:
            with module.graph.inserting_before(node):
                channels = tensor_of(module, node.args[1]).shape[channel_axis(node)]
                weights, _ = store.weight(node, torch.zeros(channels))
                source = _dynamic(module, node.args[0]) if self.mode == "dynamic" else node.args[0]
            node.args = (source, weights, *node.args[2:])
        context.say(f"{len(chosen)} of {len(layers)} layers with int8 weights")
        for name, reason in left.items():
            context.say(f"{name} keeps its float weights: {reason}")
        summary = {"mode": self.mode, "layers": [layer_name(node) for node in chosen], "left_float": left}
        return replace(state, program=lifted(module, program)).with_attachment("stored_weights", summary)


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
