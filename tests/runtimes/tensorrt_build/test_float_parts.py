"""Which nodes are left for float16, on graphs of two layers "first" and "second"; "x" is rounded before the first."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir
import pytest
from edgewright.runtimes.tensorrt_build.float_parts import dequantizer, fits_float16, float_parts, is_int8_layer

_GRIDS = (
    "float s = {0.05}, int8 z = {0}, int8[4,4,1,1] w = {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16}, int8[4] wz = {0,0,0,0}"
)
FIRST = (
    "[xq] q = QuantizeLinear(x, s, z) [xd] d = DequantizeLinear(q, s, z)"
    " [wd] wf = DequantizeLinear <axis = 0> (w, ws, wz)"
)
SECOND = "[oq] oq = QuantizeLinear(o, s, z) [od] od = DequantizeLinear(oq, s, z) [second] y = Conv(od, wf)"


def graph(body: str, scale: float = 0.01) -> onnx_ir.Model:
    """x, rounded; what `body` makes of c, the first layer's output, and calls o; o, rounded; the second layer."""
    text = f"""<ir_version: 10, opset_import: ["": 19]>
        g (float[1,4,8,8] x) => (float[1,4,8,8] y)
        <{_GRIDS}, float[4] ws = {{{", ".join([str(scale)] * 4)}}}, float low = {{0}}, float high = {{6}}>
        {{ {FIRST} [first] c = Conv(d, wf) {body} {SECOND} }}"""
    model = onnx.parser.parse_model(text)
    onnx.checker.check_model(model, full_check=True)
    return onnx_ir.from_proto(model)


def names(model: onnx_ir.Model) -> list[str]:
    return [node.name or "" for node in float_parts(model)]


@pytest.mark.parametrize(
    "body",
    [
        "[a] o = Relu(c)",
        "[a] o = Clip(c, low, high)",
        "[a] t = Add(c, d) [b] o = Relu(t)",
        "[a] o = MaxPool <kernel_shape = [1, 1]> (c)",
        "[a] o = Identity(d) [b] u = Identity(c)",
    ],
)
def test_what_a_kernel_takes_in_stays(body: str) -> None:
    assert names(graph(body)) == []


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("[a] t = Sigmoid(c) [b] o = Mul(c, t)", ["first", "a", "b"]),  # SiLU: not one kernel with the layer
        ("[a] t = Relu(c) [b] u = Sigmoid(t) [e] o = Mul(t, u)", ["first", "a", "b", "e"]),
        ("[a] t = Sigmoid(d) [b] o = Add(c, t)", ["first", "a", "b"]),  # the other operand is float
        ("[a] o = Add(d, d) [b] u = Relu(c)", ["a"]),  # a sum that belongs to no layer
        ("[a] t = Sigmoid(d) [b] o = Transpose <perm = [0, 1, 2, 3]> (t)", ["a", "b"]),
    ],
)
def test_what_has_kernels_of_its_own_is_left_and_the_layers_that_it_reads(body: str, left: list[str]) -> None:
    assert names(graph(body)) == left


def test_a_layer_whose_scales_are_too_small_stays() -> None:
    body = "[a] t = Sigmoid(c) [b] o = Mul(c, t)"
    assert names(graph(body, 1e-6)) == ["a", "b"]
    assert not fits_float16(np.array([0.01, 1e-6], np.float32))
    assert not fits_float16(np.array([600.0], np.float32))
    assert fits_float16(np.array([0.01, 500.0], np.float32))


def test_all_of_a_float_model_is_left() -> None:
    text = """<ir_version: 10, opset_import: ["": 19]> g (float[1,4] x) => (float[1,4] y)
        { [a] t = Relu(x) [b] u = Transpose(t) [e] y = Transpose(u) }"""
    assert names(onnx_ir.from_proto(onnx.parser.parse_model(text))) == ["a", "b", "e"]


def test_a_layer_is_seen_through_what_moves_values() -> None:
    model = graph("[a] o = Identity(d)")
    nodes = {node.name: node for node in model.graph}
    assert [name for name, node in nodes.items() if is_int8_layer(node)] == ["first", "second"]
    assert dequantizer(nodes["a"].outputs[0]) is nodes["xd"]
    assert dequantizer(nodes["first"].outputs[0]) is None
    assert dequantizer(None) is None


def test_what_onnx_has_in_float32_alone_is_not_left() -> None:
    text = """<ir_version: 10, opset_import: ["": 19, "own": 1]>
        g (float[1,4,4] x, float[1,1,4] s) => (int64[n,3] y)
        { [a] t = Relu(x) [b] y = NonMaxSuppression(t, s) [e] u = own.Fancy(t) }"""
    assert names(onnx_ir.from_proto(onnx.parser.parse_model(text))) == ["a"]
