from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest
from edgewright.runtimes.tensorrt_build.half import halve
from edgewright.runtimes.tensorrt_build.settings import Settings
from edgewright.runtimes.tensorrt_build.verdict import HOW, ask, is_installed
from onnx import TensorProto, helper, numpy_helper

needs_rtx = pytest.mark.skipif(not is_installed(), reason=HOW)


def halved(file: Path) -> onnx.ModelProto:
    model = onnx_ir.load(file)
    assert halve(model) == ""
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


def test_what_float16_can_not_hold_is_told_and_nothing_is_changed(quantized_models: ModuleType, tmp_path: Path) -> None:
    file = quantized_models.convolution(tmp_path / "model.onnx", quantizes_weights=False, quantizes_input=False)
    model = onnx.load(file)
    (bias,) = [each for each in model.graph.initializer if each.name == "bias"]
    bias.CopyFrom(numpy_helper.from_array(np.full(32, 1e5, np.float32), "bias"))
    read = onnx_ir.from_proto(model)
    assert halve(read) == "bias is above 65504 somewhere, which float16 does not hold"
    after, before = (onnx_ir.to_proto(each).graph for each in (read, onnx_ir.from_proto(model)))
    assert (list(after.node), list(after.initializer)) == (list(before.node), list(before.initializer))


def test_what_keeps_a_division_from_zero_still_does() -> None:
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["": 19]> g (float[4] x) => (float[4] y)
        <float least = {1e-12}>
        {
            a = Abs(x)
            n = Max(a, least)
            y = Div(x, n)
        }""")
    read = onnx_ir.from_proto(model)
    assert halve(read) == ""
    proto = onnx_ir.to_proto(read)
    assert {each.data_type for each in proto.graph.initializer} == {TensorProto.FLOAT16}
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": np.array([0, 0.5, -2, 3], np.float32)})
    assert y.tolist() == [0, 1, -1, 1]


def test_int8_values_that_float16_can_not_hold_are_told(gated: onnx.ModelProto) -> None:
    change(gated, "s", [600.0])
    assert halve(onnx_ir.from_proto(gated)) == "d is above 65504 somewhere, which float16 does not hold"


@pytest.fixture
def gated() -> onnx.ModelProto:
    """A layer "conv" and its value times its own sigmoid, rounded before and behind; a scale s is on all of it."""
    return onnx.parser.parse_model("""<ir_version: 10, opset_import: ["": 19]>
        g (float[1,4,8,8] x) => (float[1,4,8,8] y)
        <float s = {0.05}, int8 z = {0}, int8[4,4,1,1] w = {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16},
         float[4] ws = {0.01, 0.02, 0.03, 0.04}, int8[4] wz = {0,0,0,0}>
        {
            [xq] q = QuantizeLinear(x, s, z)
            [xd] d = DequantizeLinear(q, s, z)
            [wd] wf = DequantizeLinear <axis = 0> (w, ws, wz)
            [conv] c = Conv(d, wf)
            [sigmoid] t = Sigmoid(d)
            [mul] o = Mul(c, t)
            [oq] oq = QuantizeLinear(o, s, z)
            [od] od = DequantizeLinear(oq, s, z)
            [last] y = Conv(od, wf)
        }""")


def change(model: onnx.ModelProto, name: str, values: list[float]) -> None:
    (stored,) = [each for each in model.graph.initializer if each.name == name]
    shape = numpy_helper.to_array(stored).shape
    stored.CopyFrom(numpy_helper.from_array(np.array(values, np.float32).reshape(shape), name))


def converted(model: onnx.ModelProto) -> tuple[dict[str, onnx.NodeProto], dict[str, np.ndarray], dict[str, int]]:
    """Nodes by name, stored values, and the types of all values of the model in float16."""
    read = onnx_ir.from_proto(model)
    assert halve(read) == ""
    proto = onnx_ir.to_proto(read)
    onnx.checker.check_model(proto, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True).graph
    types = {each.name: each.type.tensor_type.elem_type for each in (*inferred.value_info, *inferred.output)}
    stored = {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}
    return {node.name: node for node in proto.graph.node}, stored, types


def test_float16_lies_between_the_layers_and_float32_within(gated: onnx.ModelProto) -> None:
    nodes, stored, types = converted(gated)
    assert not any(node.op_type == "Cast" for node in nodes.values())
    made = {name: types[nodes[name].output[0]] for name in ("conv", "sigmoid", "mul", "last")}
    half = TensorProto.FLOAT16
    assert made == {"conv": half, "sigmoid": half, "mul": half, "last": TensorProto.FLOAT}
    scales = {name: stored[nodes[name].input[1]].dtype.name for name in ("xq", "oq", "od", "wd")}
    assert scales == {"xq": "float32", "oq": "float16", "od": "float32", "wd": "float32"}
    own = [node for node in nodes.values() if node.output[0] in nodes["conv"].input]
    assert [stored[node.input[1]].dtype.name for node in own] == ["float16", "float16"]


def test_a_scale_is_one_number_in_both_types(gated: onnx.ModelProto) -> None:
    nodes, stored, _ = converted(gated)
    wide, narrow = (stored[nodes[name].input[1]] for name in ("od", "oq"))
    assert float(wide) == float(narrow) == float(np.float16(0.05)) != np.float32(0.05)


def test_layers_with_small_scales_stay_float32_behind_a_cast(gated: onnx.ModelProto) -> None:
    change(gated, "ws", [0.01, 0.02, 1e-6, 0.04])
    nodes, stored, types = converted(gated)
    assert (types[nodes["conv"].output[0]], types[nodes["mul"].output[0]]) == (TensorProto.FLOAT, TensorProto.FLOAT16)
    assert np.array_equal(stored[nodes["wd"].input[1]], np.array([0.01, 0.02, 1e-6, 0.04], np.float32))
    (cast,) = [node for node in nodes.values() if node.op_type == "Cast"]
    assert (cast.input[0], cast.output[0]) == (nodes["conv"].output[0], nodes["mul"].input[0])


@needs_rtx
@pytest.mark.parametrize(("name", "scales"), [("s", [0.05]), ("ws", [0.01, 0.02, 1e-6, 0.04]), ("s", [1e-6])])
def test_the_builder_runs_each_form_in_int8(
    gated: onnx.ModelProto, tmp_path: Path, name: str, scales: list[float]
) -> None:
    change(gated, name, scales)
    read = onnx_ir.from_proto(gated)
    halve(read)
    onnx_ir.save(read, tmp_path / "model.onnx")
    found = ask(Settings("model.onnx", {}, (), "8.9", "tensorrt-rtx", build_for="8.9"), tmp_path)
    assert (found.is_built, found.refusals, sorted(found.int8)) == (True, (), ["conv", "last"])


def test_a_small_scale_of_activations_stays_float32_behind_a_cast(gated: onnx.ModelProto) -> None:
    change(gated, "s", [1e-6])
    nodes, stored, _ = converted(gated)
    assert stored[nodes["oq"].input[1]].dtype == np.float32
    casts = {node.input[0] for node in nodes.values() if node.op_type == "Cast"}
    assert {nodes["mul"].output[0], nodes["xd"].output[0], nodes["conv"].output[0]} == casts
