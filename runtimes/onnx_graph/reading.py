"""ONNX models of others, read as far as rules need them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...ir.errors import InputError, Problem

if TYPE_CHECKING:
    import onnx


def read(path: Path) -> onnx.ModelProto:
    """The model with the shapes that can be inferred.

    InputError where the file holds none, or one whose operators have fewer inputs than they need.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load(str(path), load_external_data=False)
    except (OSError, DecodeError) as error:
        raise InputError(Problem(str(path), "", "an ONNX model that can be read", str(error))) from None
    if not model.graph.node:
        raise InputError(Problem(str(path), "", "an ONNX model", "a file without operators"))
    if flaws := list(_too_few_inputs(model)):
        raise InputError([Problem(str(path), name, *told) for name, told in flaws])
    try:
        return onnx.shape_inference.infer_shapes(model)
    except onnx.shape_inference.InferenceError:  # operators that onnx does not know: of what they make, no rule asks
        return model


def _too_few_inputs(model: onnx.ModelProto) -> Iterator[tuple[str, tuple[str, str]]]:
    """The operators that lack inputs, by name, with what they need and have; of operators that onnx knows."""
    import onnx

    versions = {entry.domain: entry.version for entry in model.opset_import}
    for node in model.graph.node:
        if not onnx.defs.has(node.op_type, node.domain):
            continue
        try:
            needed = onnx.defs.get_schema(node.op_type, versions.get(node.domain, 1), node.domain).min_input
        except onnx.defs.SchemaError:
            continue
        if len(node.input) < needed:
            yield node.name or node.op_type, (f"{node.op_type} with {needed} inputs or more", str(len(node.input)))
