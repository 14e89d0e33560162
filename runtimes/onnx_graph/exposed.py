"""An ONNX model that hands out values from between its layers, for a runtime that keeps none of them by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..contract import Layer

MOST_BYTES = 1 << 30
"""A larger model's weights lie beside it: protobuf holds no more than 2 GiB."""


def expose(file: Path, wanted: Sequence[Layer], folder: Path) -> Path:
    """The same model in `folder`, the tensors of these layers behind its own outputs; of the same name.

    TensorRT for RTX 1.7.1 builds such an engine with every layer in INT8 that was so before (seen; a test asks it).
    """
    import numpy as np
    import onnx
    from onnx import helper

    model = onnx.load(str(file))
    inferred = onnx.shape_inference.infer_shapes(onnx.load(str(file), load_external_data=False)).graph.value_info
    known = {entry.name: entry for entry in inferred}
    for layer in wanted:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(layer.dtype))
        model.graph.output.append(
            known.get(layer.tensor) or helper.make_tensor_value_info(layer.tensor, kind, shape=None)
        )
    onnx.save(model, str(folder / file.name), save_as_external_data=model.ByteSize() > MOST_BYTES)
    return folder / file.name
