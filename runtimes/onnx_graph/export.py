"""An exported program as an ONNX model: explicit quantize nodes, the user's names, the recipe's batch, nothing else.

The quantize and dequantize operators of the program become QuantizeLinear and DequantizeLinear, which onnxruntime
fuses into its integer kernels (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html) and
TensorRT into its own. `who` is the runtime that the model is for: messages begin with it.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...ir.errors import StepError
from ..contract import ModelNotes, TensorNotes
from .operators import translations

if TYPE_CHECKING:
    import onnx_ir
    from torch.export import ExportedProgram

    from ...ir.state import InputSpec, ModelState

BATCH = "batch"
"""The name of a batch axis that stays open."""
_SCOPES = "pkg.torch.onnx.name_scopes"
_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_OPERATOR = re.compile(r"OpOverload\(op='([^']+)'")


def exported(state: ModelState, notes: ModelNotes, who: str) -> onnx_ir.Model:
    """The state's program in ONNX, constants folded and shapes inferred, with what it says of itself.

    StepError where an operator has no ONNX form, or where a name or a batch does not fit the recipe's.
    """
    model = _translate(state.exported_program(), [spec.name for spec in state.inputs], who)
    _fix_batch(model, state.inputs, who)
    _optimize(model)
    _tidy(model)
    model.metadata_props.update(_properties(notes, state.inputs))
    return model


def save(model: onnx_ir.Model, path: Path, external_above_bytes: int, who: str) -> tuple[str, ...]:
    """The model lies at `path` and the checker had nothing against it; the names of its files.

    Weights lie beside it, in `path` with .data behind it, where they exceed `external_above_bytes`.
    """
    import onnx
    import onnx_ir

    data = f"{path.name}.data"
    weights = [value.const_value for value in model.graph.initializers.values() if value.const_value is not None]
    is_external = sum(weight.nbytes for weight in weights) > external_above_bytes
    onnx_ir.save(model, path, external_data=data if is_external else None)
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise StepError(f"{who}: the emitted model is not valid ONNX: {error}") from None
    return (path.name, data) if is_external else (path.name,)


def _translate(program: ExportedProgram, input_names: list[str], who: str) -> onnx_ir.Model:
    """The program in ONNX operators, not yet optimized; inputs and outputs have their names."""
    import torch

    count = len(program.graph_signature.user_outputs)
    output_names = ["output"] if count == 1 else [f"output_{index}" for index in range(count)]
    if taken := set(output_names) & set(input_names):
        raise StepError(f"{who}: an input can't be called '{min(taken)}': an output has that name")
    try:
        return _export(_decomposed_where_asked(program), input_names, output_names, who)
    except torch.onnx.errors.OnnxExporterError:  # an operator that torch.export takes apart unasked, as batch norm
        return _translate_traced_again(program, input_names, output_names, who)


def _translate_traced_again(
    program: ExportedProgram, input_names: list[str], output_names: list[str], who: str
) -> onnx_ir.Model:
    import torch

    try:
        return _export(program, input_names, output_names, who)
    except torch.onnx.errors.OnnxExporterError as error:
        raise StepError(f"{who}: {_why_not(error)}") from error


def _export(program: ExportedProgram, input_names: list[str], output_names: list[str], who: str) -> onnx_ir.Model:
    import torch

    with _quiet(), torch.no_grad():
        result = torch.onnx.export(
            program,
            dynamo=True,
            optimize=False,
            verbose=False,
            input_names=input_names,
            output_names=output_names,
            custom_translation_table=translations(program),
        )
    if result is None:
        raise StepError(f"{who}: torch.onnx.export gave no model")
    return result.model


def _decomposed_where_asked(program: ExportedProgram) -> ExportedProgram:
    """A copy of the program that is traced again only where torch.onnx asks for one of its operators to be decomposed.

    torch.onnx always calls `run_decompositions`, and more than half of its time goes there; with nothing to decompose
    the result is the same graph.
    """
    from torch.export import ExportedProgram

    graph = copy.deepcopy(program.graph)
    for old, new in zip(program.graph.nodes, graph.nodes, strict=True):
        new.name = old.name
    copied = ExportedProgram(
        root=program.graph_module,
        graph=graph,
        graph_signature=program.graph_signature,
        state_dict=program.state_dict,
        range_constraints=program.range_constraints,
        module_call_graph=program.module_call_graph,
        example_inputs=program.example_inputs,
        constants=program.constants,
    )

    def run_decompositions(table: Any = None) -> ExportedProgram:
        is_needed = table is None or any(node.target in table for node in program.graph.nodes)
        return program.run_decompositions(table) if is_needed else copied

    vars(copied)["run_decompositions"] = run_decompositions
    return copied


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch.onnx neither prints, nor warns, nor logs below an error; exceptions pass."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _why_not(error: BaseException) -> str:
    """The operator that has no ONNX form, or the first line of what torch said."""
    cause: BaseException | None = error
    while cause is not None:
        if found := _OPERATOR.search(str(cause)):
            return f"torch.onnx has no ONNX form of the operator {found[1]}; the model's author can replace it"
        cause = cause.__cause__
    return f"torch.onnx could not translate the model: {str(error).splitlines()[0]}"


def _fix_batch(model: onnx_ir.Model, inputs: tuple[InputSpec, ...], who: str) -> None:
    """The inputs' shapes are the recipe's; what was inferred from another batch is forgotten, to be inferred anew."""
    import onnx_ir

    for value, spec in zip(model.graph.inputs, inputs, strict=True):
        wanted = [BATCH if size is None else size for size in spec.shape]
        found = list(value.shape) if value.shape is not None else wanted
        if any(isinstance(old, int) and old != new for old, new in zip(found, wanted, strict=True)):
            raise StepError(f"{who}: input '{spec.name}' was exported as {found}, the recipe wants {wanted}")
        value.shape = onnx_ir.Shape(wanted)
    for node in model.graph.all_nodes():
        for output in node.outputs:
            if output.shape is not None and not output.shape.is_static():
                output.shape = None


def _optimize(model: onnx_ir.Model) -> None:
    """Constants are folded (with them the shape arithmetic of a batch that is now fixed), shapes inferred.

    Folding first leaves the optimizer's rewrite rules, whose time grows with the square of the nodes, a fifth of them;
    without the identities that folding leaves, one round of them is enough.
    """
    from onnx_ir.passes.common import IdentityEliminationPass, InlinePass, RemoveUnusedNodesPass
    from onnxscript import optimizer

    with _quiet():
        InlinePass()(model)
        optimizer.fold_constants(model, onnx_shape_inference=True)
        IdentityEliminationPass()(model)
        RemoveUnusedNodesPass()(model)
        optimizer.optimize_ir(model, num_iterations=1)
        IdentityEliminationPass()(model)


def _tidy(model: onnx_ir.Model) -> None:
    """Layers carry the names of the user's modules; stack traces and paths of the machine that exported are gone."""
    model.metadata_props.clear()
    model.producer_name, model.producer_version, model.doc_string = "edgewright", None, None
    model.graph.metadata_props.clear()
    names = {node.name for node in model.graph}
    for node in model.graph.all_nodes():
        if node.op_type in _LAYERS and (scope := _module_of(node)):
            fresh = scope
            while fresh in names:
                fresh += "_again"
            names.add(fresh)
            node.name = fresh
        node.metadata_props.clear()
        node.doc_string = None
        for output in node.outputs:
            output.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()


def _properties(notes: ModelNotes, inputs: tuple[InputSpec, ...]) -> dict[str, str]:
    """The notes as a model's metadata (https://onnx.ai/onnx/repo-docs/MetadataProps.html); labels one on each line."""
    said = {key: getattr(notes, key) for key in ("name", "description", "version", "author", "license")}
    for spec, note in zip(inputs, notes.inputs or [TensorNotes()] * len(inputs), strict=True):
        numbers = {"mean": note.mean, "std": note.std}
        said |= {f"{spec.name}.{key}": " ".join(map(str, values)) for key, values in numbers.items()}
        said[f"{spec.name}.description"] = note.description
    said["labels"] = "\n".join(notes.outputs[0].labels) if notes.outputs else ""
    return {key: text for key, text in said.items() if text}


def _module_of(node: onnx_ir.Node) -> str:
    """The path of the user's module that a node comes from ("layer1.0.conv1"); empty where it isn't known."""
    scopes: list[str] = re.findall(r"'([^']*)'", node.metadata_props.get(_SCOPES, ""))
    return scopes[-2] if len(scopes) > 1 else ""
