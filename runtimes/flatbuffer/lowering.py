"""An exported program as litert-torch converts it: quantized weights where its converter looks for them, NHWC outside.

litert-torch's converter takes an operator between dequantize and quantize nodes as an integer one, with exactly the
scales of those nodes, once it is told that the program is quantized (https://github.com/google-ai-edge/litert-torch).
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ...ir.errors import StepError
from ...ir.graph import add_tensor, editable, module_names, operator, read_tensor, tensor_of
from ...ir.state import register_quantized_operators

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram
    from torch.fx import Graph, GraphModule, Node

IMAGE_AXES = 4
"""Tensors of so many axes are (N, C, H, W) in torch and (N, H, W, C) in TFLite."""

_LINE = re.compile(r"^\s*(\w+) = torch\.ops\.", re.MULTILINE)
"""A line of a graph's code, as torch quotes the one that an error came from: the node has the variable's name."""


def lowered(program: ExportedProgram, examples: tuple[Tensor, ...], is_quantized: bool) -> bytes:
    """The program as a TFLite file; inputs and outputs of four axes have their channels last.

    `examples` have the shapes that the file is made for. StepError where litert-torch can't convert an operator, and
    where a shape depends on the data.
    """
    register_quantized_operators()
    module = editable(program)
    _refuse_unknown_sizes(module.graph)
    _expose_weights(module, as_floats=not is_quantized)
    if is_quantized:
        _keep_requantization(module)
        _bar_floats(module)
        _read_apart(module)
    else:
        _read_floats(module)
    outputs = [node.meta["val"].dim() for node in _results(module)]
    return _convert(module, examples, _images(example.dim() for example in examples), _images(outputs), is_quantized)


def _refuse_unknown_sizes(graph: Graph) -> None:
    """StepError where the size of a tensor is only known when the network runs, by operators' and modules' names."""
    from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

    makers = [node for node in graph.nodes if operator(node) and free_unbacked_symbols(node.meta["val"])]
    if makers:
        what = "its shape depends on the data, and every shape in a TFLite file is fixed; rewrite that part"
        raise StepError(f"tflite: {_named(makers[0])}: {what}")


def _named(node: Node) -> str:
    """The operator, and the module that it is in."""
    names = module_names(node)
    return f"{operator(node) or node.name} in {names[-1]}" if names else f"{operator(node) or node.name}"


def _images(axes: Any) -> list[int]:
    return [index for index, count in enumerate(axes) if count == IMAGE_AXES]


def _results(module: GraphModule) -> list[Node]:
    from ...ir.graph import outputs_of

    return outputs_of(module.graph)


def _expose_weights(module: GraphModule, as_floats: bool) -> None:
    """Int8 weights are float constants between a quantize and a dequantize node, int32 biases float ones.

    `as_floats`: weights are float constants alone, under activations that are floats, too.

    The converter knows weights by that form, and quantizes a bias itself, to input scale times weight scale. Both
    steps are exact: the constants lie on their grids.
    """
    import torch

    operators = torch.ops.quantized_decomposed
    for node in list(module.graph.nodes):
        if node.target is not operators.dequantize_per_channel.default:
            continue
        stored, *form = node.args
        scales, zero_points, *rest = form
        numbers = [tensor_of(module, each) for each in (stored, scales, zero_points)]
        exact = operators.dequantize_per_channel(*numbers, *rest)
        with module.graph.inserting_before(node):
            constant = read_tensor(module, add_tensor(module, str(stored.target), "exact", exact))
            if as_floats or rest[-1] == torch.int32:
                node.replace_all_uses_with(constant)
                continue
            quantized = module.graph.call_function(operators.quantize_per_channel.default, (constant, *form))
        node.args = (quantized, *form)
    module.graph.eliminate_dead_code()
    module.recompile()


def _read_floats(module: GraphModule) -> None:
    """Layers that quantize their inputs while they run read the floats: the runtime's kernels do the rest."""
    import torch

    operators = torch.ops.quantized_decomposed
    for node in list(module.graph.nodes):
        if node.target is operators.dequantize_per_tensor.tensor:
            quantized: Any = node.args[0]
            node.replace_all_uses_with(quantized.args[0])
    module.graph.eliminate_dead_code()
    module.recompile()


def _keep_requantization(module: GraphModule) -> None:
    """A tensor that goes from one grid right to another does so through a ReLU.

    The converter drops the second grid otherwise. On a grid whose least value is zero a ReLU changes nothing; StepError
    where the first grid holds values below zero.
    """
    import torch

    operators = torch.ops.quantized_decomposed
    for node in list(module.graph.nodes):
        if node.target is not operators.quantize_per_tensor.default:
            continue
        before: Any = node.args[0]
        if before.target is not operators.dequantize_per_tensor.default:
            continue
        _, _, zero_point, lowest, *_ = before.args
        if zero_point != lowest:
            raise StepError("tflite: a tensor with values below zero can't be requantized for a concatenation")
        with module.graph.inserting_before(node):
            passed = module.graph.call_function(torch.ops.aten.relu.default, (before,))
        node.replace_input_with(before, passed)


def ways_out(graph: Graph) -> list[Node]:
    """The clones through which what computes in float reads int8 tensors."""
    import torch

    operators, clone = torch.ops.quantized_decomposed, torch.ops.aten.clone.default
    return [
        node
        for node in graph.nodes
        if node.target is clone
        and node.args[0].target is operators.dequantize_per_tensor.default
        and any(user.target is not operators.quantize_per_tensor.default for user in node.users)
    ]


def _bar_floats(module: GraphModule) -> None:
    """A FLOOR stands where values leave the integers, for `without_barriers` to take out of the converted file.

    The converter takes a float operator between a dequantize and a quantize node for an integer one, and makes up the
    scales that it lacks. FLOOR has no integer kernel, and is left as it is.
    """
    import torch

    for node in ways_out(module.graph):
        node.target = torch.ops.aten.floor.default
    module.recompile()


def _read_apart(module: GraphModule) -> None:
    """Every reader of a quantized tensor has a dequantize node of its own.

    litert-torch turns parts of a graph to NHWC, and a node that is read in both layouts ends its pass with an error.
    """
    import torch

    for node in list(module.graph.nodes):
        if node.target is not torch.ops.quantized_decomposed.dequantize_per_tensor.default:
            continue
        for reader in list(node.users)[1:]:
            with module.graph.inserting_before(reader):
                own = module.graph.node_copy(node)
            reader.replace_input_with(node, own)
    module.recompile()


def _convert(
    module: GraphModule, examples: Sequence[Tensor], inputs: list[int], outputs: list[int], is_quantized: bool
) -> bytes:
    with _captured() as said:
        from litert_torch._convert.interface import convert
        from litert_torch._convert.to_channel_last_io import to_channel_last_io

        given = tuple(
            example.permute(0, 2, 3, 1).contiguous() if index in inputs else example
            for index, example in enumerate(examples)
        )
        wrapped = to_channel_last_io(module, args=inputs, outputs=outputs)
        for part in wrapped.modules():
            part.training = False  # what an exported module's own `eval` refuses
        try:
            model = convert(wrapped, given, quant_config=_static() if is_quantized else None)
            content: bytes = model.model_content()
        except Exception as error:  # the converter raises whatever torch, MLIR or its own lowerings raise
            raise StepError(f"tflite: litert-torch could not convert {_culprit(error, module, said())}") from error
    return content


def _static() -> Any:
    """What tells litert-torch that a program is quantized; nothing else is read of it."""
    from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
    from litert_torch.quantize.quant_config import QuantConfig

    quantizer: Any = PT2EQuantizer  # which says nothing of its types
    return QuantConfig(pt2e_quantizer=quantizer().set_global(get_symmetric_quantization_config()))


def _culprit(error: Exception, module: GraphModule, said: str) -> str:
    """What could not be converted, why, and what can be done; the model where torch doesn't tell which line of it."""
    lines = _LINE.findall(str(error))
    nodes = {node.name: node for node in module.graph.nodes}
    if not lines or lines[-1] not in nodes:
        return f"the model: {_reason(error, said)}"
    return f"{_named(nodes[lines[-1]])}: {_reason(error, said)}; replace it in the network"


def _reason(error: Exception, said: str) -> str:
    """The first line of the error, and what the converter's own log says of an error."""
    first = next(iter(str(error).splitlines()), "") or type(error).__name__
    logged = [line for line in said.splitlines() if "error:" in line]
    return f"{type(error).__name__}: {first}" + "".join(f"; {line.strip()}" for line in logged[:1])


@contextlib.contextmanager
def _captured() -> Iterator[Any]:
    """litert-torch's progress, and what its C++ parts write to standard error, is kept and not shown."""
    level, stderr = logging.root.manager.disable, os.dup(2)
    logging.disable(logging.ERROR)
    with tempfile.TemporaryFile() as kept, contextlib.redirect_stdout(io.StringIO()):

        def said() -> str:
            kept.seek(0)
            return kept.read().decode("utf-8", "replace")

        os.dup2(kept.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            logging.disable(level)
