"""What a TFLite model takes and gives: integers instead of floats where its graph is quantized, under chosen names.

A converted model quantizes its float inputs first and dequantizes its outputs last. A device that holds integers anyway
saves both, and TFLite Micro's integer kernels want it so
(https://ai.google.dev/edge/litert/models/post_training_integer_quant).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...ir.errors import StepError
from .graph import Model, Tensor, inputs, integers, kind, outputs, tensors
from .insertion import add_float_twin, conversion

SIGNATURE = "serving_default"
"""What converters call a model's only signature."""
_INTEGERS = frozenset({"int8", "uint8", "int16"})


def integer_boundary(model: Model) -> tuple[str, ...]:
    """The main graph's float inputs and outputs are the integers right behind and before them, with their scales.

    Changes the model. The QUANTIZE and DEQUANTIZE that nothing reads any more, and all that was only theirs, are gone.
    Returns, for each input and output that stays float, its name and why.
    """
    stays = [reason for tensor in inputs(model) if (reason := _take_input(model, tensor))]
    stays += [reason for tensor in outputs(model) if (reason := _take_output(model, tensor))]
    drop_unused(model)
    return tuple(stays)


def float_boundary(model: Model) -> None:
    """The main graph takes and gives floats: integers with a scale are quantized first, and dequantized last.

    Changes the model.
    """
    graph = model.subgraphs[0]
    for tensor in inputs(model):
        if tensor.dtype in _INTEGERS and tensor.scales:
            place = add_float_twin(model, tensor.index, "/quantized")
            graph.inputs = [place if index == tensor.index else index for index in graph.inputs]
            _move_signatures(model, {tensor.index: place}, "inputs")
            graph.operators = [conversion(model, "QUANTIZE", place, tensor.index), *graph.operators]
    for tensor in outputs(model):
        if tensor.dtype in _INTEGERS and tensor.scales:
            place = add_float_twin(model, tensor.index, "/quantized")
            graph.outputs = [place if index == tensor.index else index for index in graph.outputs]
            _move_signatures(model, {tensor.index: place}, "outputs")
            graph.operators = [*graph.operators, conversion(model, "DEQUANTIZE", tensor.index, place)]
    drop_unused(model)


def rename(model: Model, input_names: Sequence[str], output_names: Sequence[str]) -> None:
    """The main graph's inputs and outputs, and those of its only signature, have these names, in the graph's order.

    A tensor that is both keeps the input's name; the signature knows it by both. StepError where the numbers differ.
    """
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    for what, names, found in (("inputs", input_names, graph.inputs), ("outputs", output_names, graph.outputs)):
        if len(names) != len(found):
            raise StepError(f"tflite: the model has {len(found)} {what}, but there are {len(names)} names for them")
    for names, found in ((output_names, graph.outputs), (input_names, graph.inputs)):
        for name, index in zip(names, found, strict=True):
            graph.tensors[index].name = name
    entries = [
        [schema.TensorMapT(name, index) for name, index in zip(names, found, strict=True)]
        for names, found in ((input_names, graph.inputs), (output_names, graph.outputs))
    ]
    others = [signature for signature in model.signatureDefs if signature.subgraphIndex != 0]
    model.signatureDefs = [schema.SignatureDefT(*entries, SIGNATURE, 0), *others]


def drop_unused(model: Model) -> None:
    """No tensor, buffer or operator code is left that nothing names, and no two buffers of the same bytes.

    The first buffer is empty by the schema's word ("the 0th entry of this array must be an empty buffer").
    """
    for number, graph in enumerate(model.subgraphs):
        signatures = [entry for entry in model.signatureDefs if entry.subgraphIndex == number]
        _drop_tensors(graph, signatures)
    _drop_operator_codes(model)
    _drop_buffers(model)


def redirect(model: Model, moved: Mapping[int, int]) -> None:
    """Whoever named a key of `moved` in the main graph names its value."""
    graph = model.subgraphs[0]
    for holder in (graph, *graph.operators):
        holder.inputs = [moved.get(index, index) for index in holder.inputs]
    graph.outputs = [moved.get(index, index) for index in graph.outputs]
    for side in ("inputs", "outputs"):
        _move_signatures(model, moved, side)


def _take_input(model: Model, tensor: Tensor) -> str:
    """The input is the integer tensor that its QUANTIZE gives; else why it stays float, empty where it is no float."""
    graph, known = model.subgraphs[0], tensors(model)
    if tensor.dtype != "float32":
        return ""
    readers = [operator for operator in graph.operators if tensor.index in operator.inputs]
    quantizers = [operator for operator in readers if _is_quantize(model, operator, known)]
    if not quantizers:
        names = ", ".join(sorted({kind(model, operator) for operator in readers})) or "nothing"
        return f"input {tensor.name}: {names} reads it, not QUANTIZE"
    others = sorted({kind(model, operator) for operator in readers if operator not in quantizers})
    if others or tensor.index in graph.outputs:
        return f"input {tensor.name}: {', '.join(others) or 'an output'} reads it in float too"
    grids = {_grid(known[operator.outputs[0]]) for operator in quantizers}
    if len(grids) > 1:
        return f"input {tensor.name}: it is quantized in {len(grids)} ways"
    chosen, *same = [operator.outputs[0] for operator in quantizers]
    _remove(graph, quantizers)
    redirect(model, {tensor.index: chosen, **dict.fromkeys(same, chosen)})
    return ""


def _take_output(model: Model, tensor: Tensor) -> str:
    """The output is the integer tensor that its DEQUANTIZE reads; else why it stays float, empty where it is none."""
    graph, known = model.subgraphs[0], tensors(model)
    if tensor.dtype != "float32" or tensor.index not in graph.outputs:
        return ""
    maker = next((operator for operator in graph.operators if tensor.index in operator.outputs), None)
    if maker is None or kind(model, maker) != "DEQUANTIZE":
        return f"output {tensor.name}: {'an input' if maker is None else kind(model, maker)} gives it, not DEQUANTIZE"
    source = known[maker.inputs[0]]
    if source.dtype not in _INTEGERS or source.is_constant:
        return f"output {tensor.name}: what is dequantized is {'a constant' if source.is_constant else source.dtype}"
    if source.index in graph.outputs or source.index in graph.inputs:
        return f"output {tensor.name}: what is dequantized is {_role(graph, source.index)} itself"
    readers = [operator for operator in graph.operators if tensor.index in operator.inputs]
    if not readers:
        _remove(graph, [maker])
    graph.outputs = [source.index if index == tensor.index else index for index in graph.outputs]
    _move_signatures(model, {tensor.index: source.index}, "outputs")
    return ""


def _is_quantize(model: Model, operator: Any, known: Sequence[Tensor]) -> bool:
    return kind(model, operator) == "QUANTIZE" and known[operator.outputs[0]].dtype in _INTEGERS


def _grid(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.dtype, tensor.scales, tensor.zero_points, tensor.axis


def _role(graph: Any, index: int) -> str:
    return "an output" if index in graph.outputs else "an input"


def _remove(graph: Any, gone: Sequence[Any]) -> None:
    graph.operators = [operator for operator in graph.operators if not any(operator is entry for entry in gone)]


def _move_signatures(model: Model, moved: Mapping[int, int], side: str) -> None:
    for signature in model.signatureDefs:
        for entry in vars(signature)[side] if signature.subgraphIndex == 0 else ():
            entry.tensorIndex = moved.get(entry.tensorIndex, entry.tensorIndex)


def _drop_tensors(graph: Any, signatures: Sequence[Any]) -> None:
    entries = [entry for signature in signatures for entry in (*signature.inputs, *signature.outputs)]
    used = {*graph.inputs, *graph.outputs, *(entry.tensorIndex for entry in entries)}
    for operator in graph.operators:
        used.update(operator.inputs, operator.outputs, integers(operator.intermediates))
    kept = [index for index in range(len(graph.tensors)) if index in used]
    place = {index: new for new, index in enumerate(kept)}
    graph.tensors = [graph.tensors[index] for index in kept]
    for holder in (graph, *graph.operators):
        holder.inputs = [place.get(index, index) for index in holder.inputs]
        holder.outputs = [place[index] for index in holder.outputs]
    for operator in graph.operators:
        if operator.intermediates is not None:
            operator.intermediates = [place[index] for index in integers(operator.intermediates)]
    for entry in entries:
        entry.tensorIndex = place[entry.tensorIndex]


def _drop_operator_codes(model: Model) -> None:
    """Each kind of operator that is left is named once; interpreters refuse a file for a code that none uses."""
    used = {operator.opcodeIndex for graph in model.subgraphs for operator in graph.operators}
    kept = [index for index in range(len(model.operatorCodes)) if index in used]
    place = {index: new for new, index in enumerate(kept)}
    model.operatorCodes = [model.operatorCodes[index] for index in kept]
    for graph in model.subgraphs:
        for operator in graph.operators:
            operator.opcodeIndex = place[operator.opcodeIndex]


def _drop_buffers(model: Model) -> None:
    from ai_edge_litert import schema_py_generated as schema

    holders = [*(tensor for graph in model.subgraphs for tensor in graph.tensors), *model.metadata]
    used = {holder.buffer for holder in holders}
    full = [index for index in sorted(used) if model.buffers[index].data is not None and len(model.buffers[index].data)]
    first: dict[bytes, int] = {}
    place = {index: first.setdefault(bytes(model.buffers[index].data), len(first) + 1) for index in full}
    once = {new: index for index, new in reversed(place.items())}
    model.buffers = [schema.BufferT(), *(model.buffers[once[new]] for new in sorted(once))]
    for holder in holders:
        holder.buffer = place.get(holder.buffer, 0)
    model.metadataBuffer = None
