from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnx_ir
import pytest
from edgewright.ir.errors import StepError
from edgewright.runtimes.tensorrt_build.half import halve
from onnx import TensorProto, helper, numpy_helper


def halved(file: Path) -> onnx.ModelProto:
    model = onnx_ir.load(file)
    halve(model)
    return onnx_ir.to_proto(model)


def test_every_value_between_the_ends_is_float16(quantized_models: ModuleType, tmp_path: Path) -> None:
    file = quantized_models.convolution(tmp_path / "model.onnx", quantizes_weights=False, quantizes_input=False)
    model = halved(file)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Cast", "Conv", "Relu", "Cast"]
    assert {each.data_type for each in model.graph.initializer} == {TensorProto.FLOAT16}
    ends = [*model.graph.input, *model.graph.output]
    assert [(each.name, each.type.tensor_type.elem_type) for each in ends] == [("image", 1), ("output", 1)]
    inner = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph.value_info
    assert {each.type.tensor_type.elem_type for each in inner} == {TensorProto.FLOAT16}


def test_sizes_of_a_resize_stay_and_casts_follow(tmp_path: Path) -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, None, None]) for name in ("x", "y")]
    nodes = [
        helper.make_node("Resize", ["x", "", "scales"], ["large"]),
        helper.make_node("Cast", ["large"], ["whole"], to=TensorProto.INT32),
        helper.make_node("Cast", ["whole"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["float", "large"], ["y"]),
    ]
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
    graph = helper.make_graph(nodes, "resize", ends[:1], ends[1:], [scales])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)]), tmp_path / "model.onnx")
    model = halved(tmp_path / "model.onnx")
    onnx.shape_inference.infer_shapes(model, strict_mode=True)
    assert [each.data_type for each in model.graph.initializer] == [TensorProto.FLOAT]
    casts = [node.attribute[0].i for node in model.graph.node if node.op_type == "Cast"]
    assert casts == [TensorProto.FLOAT16, TensorProto.INT32, TensorProto.FLOAT16, TensorProto.FLOAT]


def test_what_float16_can_not_hold_is_refused(quantized_models: ModuleType, tmp_path: Path) -> None:
    file = quantized_models.convolution(tmp_path / "model.onnx")
    with pytest.raises(StepError, match="only a float model"):
        halved(file)
    file = quantized_models.convolution(tmp_path / "model.onnx", quantizes_weights=False, quantizes_input=False)
    model = onnx.load(file)
    (bias,) = [each for each in model.graph.initializer if each.name == "bias"]
    bias.CopyFrom(numpy_helper.from_array(np.full(32, 1e5, np.float32), "bias"))
    onnx.save(model, file)
    with pytest.raises(StepError, match="bias holds values above 65504, which float16 does not hold"):
        halved(file)
