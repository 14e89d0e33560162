"""fold-batchnorm: batch normalization with fixed statistics is a scale and a shift, and the layer before takes them.

Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
section 3.2. Where no layer stands before (DenseNet), a depthwise 1x1 convolution takes its place: integer kernels
compute it per channel and fuse the activation behind it, which a multiplication and an addition would not get.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..ir.errors import StepError
from ..ir.facts import BATCHNORM_FOLDED, EXPORTED, Aspect, Fact
from ..ir.graph import add_tensor, editable, is_constant, lifted, operator, read_tensor, tensor_of
from ..ir.state import ModelState
from ..quantization.placement import layer_name
from .contract import Close, Context, Numerics

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule, Node

    from ..recipe.schema import Recipe
    from ..targets import Target

_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")


@dataclass(frozen=True)
class FoldBatchnorm:
    """No batch normalization is left: each is part of the layer before it, or a depthwise convolution of its own."""

    name: ClassVar[str] = "fold-batchnorm"
    needs: ClassVar[frozenset[Fact]] = frozenset({EXPORTED})
    makes: ClassVar[frozenset[Fact]] = frozenset({BATCHNORM_FOLDED})
    touches: ClassVar[frozenset[Aspect]] = frozenset({Aspect.TOPOLOGY, Aspect.VALUES})
    keeps: ClassVar[frozenset[Fact]] = frozenset({EXPORTED})
    numerics: ClassVar[Numerics] = Close(1e-3)
    asks: ClassVar[str | None] = None
    reads: ClassVar[frozenset[str]] = frozenset()
    decides: ClassVar[str] = ""

    @classmethod
    def for_target(cls, target: Target, recipe: Recipe) -> Self:
        return cls()

    def run(self, state: ModelState, context: Context) -> ModelState:
        program = state.exported_program()
        module = editable(program)
        normalizations = [node for node in module.graph.nodes if "batch_norm" in operator(node)]
        if not normalizations:
            return state
        folded = sum(_replace(module, node) for node in normalizations)
        context.say(f"{folded} of {len(normalizations)} batch normalizations folded into the layer before")
        if folded < len(normalizations):
            context.say(f"{len(normalizations) - folded} with no layer before became depthwise convolutions")
        return replace(state, program=lifted(module, program))


def _replace(module: GraphModule, node: Node) -> bool:
    """The batch normalization is gone; True where the layer before took it."""
    scale, shift = _scale_and_shift(module, node)
    before: Any = node.args[0]
    takes = len(before.users) == 1 and _can_take(before)
    with module.graph.inserting_before(node):
        value = _fold(module, before, scale, shift) if takes else _stand_alone(module, node, scale, shift)
    value.meta = {**before.meta, **value.meta} if takes else {**node.meta, "val": node.meta.get("val")}
    _results(node)[0].replace_all_uses_with(value)
    for result in reversed([node, *(user for user in _results(node) if user is not node)]):
        module.graph.erase_node(result)
    return takes


def _results(node: Node) -> list[Node]:
    """The normalized tensor's node first: the node itself, or the first element of the tuple that some forms give."""
    if operator(node) == "batch_norm":
        return [node]
    return sorted(node.users, key=lambda user: int(user.args[1]))  # type: ignore[arg-type]


def _scale_and_shift(module: GraphModule, node: Node) -> tuple[Tensor, Tensor]:
    """y = x * scale + shift, each (C,), in double precision. StepError where the statistics are the batch's own."""
    import torch

    weight, bias, mean, variance, *rest = node.args[1:]
    native = operator(node) != "batch_norm"
    epsilon = float(rest[1] if native else rest[2])  # type: ignore[arg-type]
    if (not native and rest[0]) or not is_constant(mean) or not is_constant(variance):
        raise StepError(
            f"fold-batchnorm: {layer_name(node)} normalizes by each batch's own statistics (no running mean),"
            " so that the answer for a sample depends on its neighbours; give it running statistics"
        )
    deviation = (_double(module, variance) + epsilon).sqrt()
    scale = 1 / deviation if weight is None else _double(module, weight) / deviation
    shift = -_double(module, mean) * scale
    return scale, shift if bias is None else shift + _double(module, bias).to(torch.float64)


def _double(module: GraphModule, node: Any) -> Tensor:
    return tensor_of(module, node).detach().double()


def _can_take(node: Node) -> bool:
    name = operator(node)
    if name in ("conv_transpose1d", "conv_transpose2d"):
        groups = node.args[6] if len(node.args) > 6 else 1
        return bool(groups == 1) and is_constant(node.args[1])
    if name == "linear":
        return bool(node.meta["val"].dim() == 2) and is_constant(node.args[1])
    return name in _CONVOLUTIONS and is_constant(node.args[1])


def _fold(module: GraphModule, layer: Node, scale: Tensor, shift: Tensor) -> Node:
    """A new layer at the insertion point with the scale in its weights and the shift in its bias."""
    weight_node: Any = layer.args[1]
    weight = _double(module, weight_node)
    axis = 1 if "transpose" in operator(layer) else 0
    along = [1] * weight.dim()
    along[axis] = -1
    bias = layer.args[2] if len(layer.args) > 2 else None
    shift = shift if bias is None else shift + _double(module, bias) * scale
    beside = str(weight_node.target)
    folded = _stored(module, beside, "folded_weight", weight * scale.reshape(along))
    folded_bias = _stored(module, beside, "folded_bias", shift)
    arguments = (layer.args[0], folded, folded_bias, *layer.args[3:])
    return module.graph.call_function(layer.target, arguments, layer.kwargs)  # type: ignore[arg-type]


def _stand_alone(module: GraphModule, node: Node, scale: Tensor, shift: Tensor) -> Node:
    import torch

    value: Any = node.args[0]
    dimensions = value.meta["val"].dim() - 2
    beside = str(next(argument.target for argument in node.args[1:5] if is_constant(argument)))  # type: ignore[union-attr]
    if not dimensions:
        product = module.graph.call_function(
            torch.ops.aten.mul.Tensor, (value, _stored(module, beside, "scale", scale))
        )
        product.meta = dict(node.meta)
        return module.graph.call_function(torch.ops.aten.add.Tensor, (product, _stored(module, beside, "shift", shift)))
    convolution = getattr(torch.ops.aten, _CONVOLUTIONS[dimensions - 1]).default
    weight = _stored(module, beside, "folded_weight", scale.reshape(-1, 1, *[1] * dimensions))
    bias = _stored(module, beside, "folded_bias", shift)
    ones = [1] * dimensions
    return module.graph.call_function(convolution, (value, weight, bias, ones, [0] * dimensions, ones, len(scale)))


def _stored(module: GraphModule, beside: str, name: str, tensor: Tensor) -> Node:
    return read_tensor(module, add_tensor(module, beside, name, tensor.float()))
