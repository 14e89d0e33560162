"""The ONNX models of a TensorRT artifact: in INT8 and float16, in float16, in float32."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...ir.errors import StepError
from .half import halve
from .unquantize import unquantize

if TYPE_CHECKING:
    import onnx_ir

    from ...ir.state import ModelState
    from ...targets.schema import Gpu, Target
    from ..contract import ModelNotes

INT8, HALF, FLOAT = "model.int8.onnx", "model.fp16.onnx", "model.fp32.onnx"
OPSET = 19
"""The oldest operator set of the models: the first in which casts and quantize nodes say what they do out of range."""
EXTERNAL_ABOVE_BYTES = 1 << 30
WHO = "tensorrt"


@dataclass(frozen=True)
class Models:
    """Files that were written: of the model that an engine is built of, and of one to compare with on the device.

    A model's files are itself and, where it is large, its weights.
    """

    main: tuple[str, ...]
    beside: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def write_models(state: ModelState, target: Target, gpu: Gpu, out: Path, notes: ModelNotes) -> Models:
    """The models lie in `out`. StepError where the target's parser can't read them, or float16 can't hold them."""
    from ..onnx_graph.export import exported

    model = exported(state, notes, WHO)
    opset = model.graph.opset_imports[""] = max(OPSET, model.graph.opset_imports[""])
    if opset > gpu.latest_opset:
        raise StepError(f"{WHO}: the model is in operator set {opset}, the target's parser ends at {gpu.latest_opset}")
    has_float16 = "fp16" in gpu.precisions
    if "quantization" in state.attachments:
        return _quantized(model, target, has_float16, out)
    if "halved" not in state.attachments:
        files = _save(model, out / FLOAT)
        return Models(files, *_beside(model, out)) if has_float16 else Models(files)
    if why := halve(model):
        raise StepError(f"{WHO}: {why}")
    return Models(_save(model, out / HALF))


def _quantized(model: onnx_ir.Model, target: Target, has_float16: bool, out: Path) -> Models:
    """The model in INT8, with what the profile wants in float16 around it; the same network in float16 beside it."""
    import onnx_ir

    if not has_float16:
        return Models(_save(model, out / INT8))
    floats = onnx_ir.from_proto(onnx_ir.to_proto(model))
    unquantize(floats)
    int8 = target.quantization.int8_static
    why = halve(model) if int8 is not None and int8.float_parts == "float16" else ""
    told = (f"what has no INT8 computes in float32: {why}",) if why else ()
    files = _save(model, out / INT8)
    beside, remarks = _beside(floats, out)
    return Models(files, beside, (*told, *remarks))


def _beside(model: onnx_ir.Model, out: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The files of the float model in float16, and remarks: why there are none."""
    why = halve(model)
    return ((), (f"there is no {HALF}: {why}",)) if why else (_save(model, out / HALF), ())


def _save(model: onnx_ir.Model, path: Path) -> tuple[str, ...]:
    from ..onnx_graph.export import save

    return save(model, path, EXTERNAL_ABOVE_BYTES, WHO)
