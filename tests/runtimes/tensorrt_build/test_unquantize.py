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


def test_integers_that_two_layers_share_on_other_scales_are_two_constants() -> None:
    model = onnx_ir.from_proto(
        onnx.parser.parse_model("""<ir_version: 10, opset_import: ["": 19]> g (float[1,1,8,8] x) => (float[1,1,8,8] y)
        <int8[1,1,1,1] w = {4}, float s = {0.5}, float t = {0.25}, int8 z = {0}>
        {
            f = DequantizeLinear(w, s, z)
            c = Conv(x, f)
            g = DequantizeLinear(w, t, z)
            y = Conv(c, g)
        }""")
    )
    unquantize(model)
    proto = onnx_ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    stored = {each.name: numpy_helper.to_array(each).item() for each in proto.graph.initializer}
    assert [stored[node.input[1]] for node in proto.graph.node] == [2, 1]


def test_an_output_that_was_rounded_for_a_layer_keeps_its_name() -> None:
    model = onnx_ir.from_proto(
        onnx.parser.parse_model("""<ir_version: 10, opset_import: ["": 19]>
        g (float[4] x) => (float[4] first, float[4] y)
        <float s = {0.5}, int8 z = {0}>
        {
            r = Relu(x)
            q = QuantizeLinear(r, s, z)
            first = DequantizeLinear(q, s, z)
            y = Neg(first)
        }""")
    )
    unquantize(model)
    proto = onnx_ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    first, y = session.run(["first", "y"], {"x": np.array([-1, 0.1, 0.3, 9], np.float32)})
    assert np.array_equal(first, np.array([0, 0.1, 0.3, 9], np.float32))
    assert np.array_equal(y, -first)


def test_integers_from_elsewhere_are_refused(quantized_models: ModuleType, tmp_path: Path) -> None:
    model = onnx.load(quantized_models.convolution(tmp_path / "model.onnx"))
    (quantize,) = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    quantize.op_type = "Cast"
    del quantize.input[1:]
    quantize.attribute.append(onnx.helper.make_attribute("to", onnx.TensorProto.INT8))
    with pytest.raises(StepError, match="dequantizes what no quantize node made"):
        unquantize(onnx_ir.from_proto(model))
