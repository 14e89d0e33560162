from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest
from edgewright.ir.errors import StepError
from edgewright.runtimes.tensorrt_build.unquantize import unquantize
from onnx import numpy_helper


def test_activations_are_not_rounded_and_weights_are_what_they_stand_for(
    quantized_models: ModuleType, tmp_path: Path
) -> None:
    file = quantized_models.convolution(tmp_path / "model.onnx")
    stored = {each.name: numpy_helper.to_array(each) for each in onnx.load(file).graph.initializer}
    (dequantize,) = [node for node in onnx.load(file).graph.node if node.input[0] == "codes"]
    model = onnx_ir.load(file)
    unquantize(model)
    proto = onnx_ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    assert [node.op_type for node in proto.graph.node] == ["Conv", "Relu"]
    constants = {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}
    scales = stored[dequantize.input[1]].reshape(-1, *[1] * 3)
    assert np.array_equal(constants[proto.graph.node[0].input[1]], stored["codes"].astype(np.float32) * scales)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.run(None, {"image": np.zeros((1, 32, 16, 16), np.float32)})[0].shape[1] == 32


def test_integers_from_elsewhere_are_refused(quantized_models: ModuleType, tmp_path: Path) -> None:
    model = onnx.load(quantized_models.convolution(tmp_path / "model.onnx"))
    (quantize,) = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    quantize.op_type = "Cast"
    del quantize.input[1:]
    quantize.attribute.append(onnx.helper.make_attribute("to", onnx.TensorProto.INT8))
    with pytest.raises(StepError, match="dequantizes what no quantize node made"):
        unquantize(onnx_ir.from_proto(model))
