"""How values of a graph are quantized, wherever an ONNX file keeps what says so."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
from edgewright.runtimes.onnx_graph.quantized_values import Graph, attribute


def test_sizes_are_those_that_the_model_says(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["": 19]> g (float[batch,4] x) => (float[batch,4] y)
        { u = Relu(x) y = Relu(u) }"""
    graph = Graph(onnx.parser.parse_model(text), tmp_path)
    assert (graph.sizes("x"), graph.sizes("y"), graph.sizes("u")) == ((0, 4), (0, 4), None)


def test_what_is_computed_of_stored_values_alone_depends_on_no_input(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["": 19]> g (float[4] x) => (float[4] y) <float[4] w = {1, 2, 3, 4}>
        { u = Add(w, w) v = Relu(u) t = Add(v, x) y = Relu(t) }"""
    graph = Graph(onnx.parser.parse_model(text), tmp_path)
    found = {name: graph.depends_on_input(name) for name in ("w", "v", "x", "t", "y")}
    assert found == {"w": False, "v": False, "x": True, "t": True, "y": True}


def test_a_value_leads_to_its_dequantize_node_through_what_only_moves_it(
    quantized_models: ModuleType, tmp_path: Path
) -> None:
    graph = Graph(quantized_models.moved("MaxPool"), tmp_path)
    convolution = graph.nodes[-1]
    given, weights = (graph.quantized(name) for name in convolution.input[:2])
    assert given is not None
    assert weights is not None
    assert (given.dtype, given.axis, given.furthest_zero_point) == ("INT8", None, 0)
    assert (weights.dtype, weights.axis) == ("INT8", 0)
    assert weights.scales is not None
    assert weights.scales.shape == (32,)
    assert graph.source(given.node) == "x"
    assert graph.source(weights.node) == "w"
    assert graph.shape("w") == (32, 32, 3, 3)
    assert graph.quantized(convolution.output[0]) is None


def test_constants_may_be_nodes_or_lie_beside_the_model(quantized_models: ModuleType, tmp_path: Path) -> None:
    builder = quantized_models.Builder()
    builder.rounded("x", "y_before", scale=np.linspace(0.1, 0.2, 300), axis=1)
    builder.node("Identity", ["y_before_rounded"], "y")
    model = builder.model([2, 300])
    scales = model.graph.initializer[0]
    node = onnx.helper.make_node("Constant", [], [scales.name], value=scales)
    as_node = onnx.ModelProto()
    as_node.CopyFrom(model)
    del as_node.graph.initializer[0]
    as_node.graph.node.insert(0, node)
    onnx.save(model, str(tmp_path / "m.onnx"), save_as_external_data=True, location="m.data", size_threshold=64)
    beside = onnx.load(str(tmp_path / "m.onnx"), load_external_data=False)
    assert (tmp_path / "m.data").stat().st_size > 300
    for form in (model, as_node, beside):
        graph = Graph(form, tmp_path)
        found = graph.quantized("y")
        assert found is not None
        assert found.scales is not None
        assert found.axis == 1
        np.testing.assert_array_equal(found.scales, np.linspace(0.1, 0.2, 300).astype(np.float32))


def test_the_integers_type_is_the_zero_points_or_what_onnx_takes(quantized_models: ModuleType, tmp_path: Path) -> None:
    for zero_point, dtype in ((np.int8(0), "INT8"), (np.int16(0), "INT16"), (None, "UINT8")):
        graph = Graph(quantized_models.convolution({"zero_point": zero_point}, {}), tmp_path)
        found = graph.quantized("given_rounded")
        assert found is not None
        assert found.dtype == dtype


def test_types_are_those_of_stored_values_and_casts(quantized_models: ModuleType, tmp_path: Path) -> None:
    assert Graph(quantized_models.of_bfloat16(), tmp_path).dtypes() == {"BFLOAT16", "FLOAT"}


def test_an_attribute_that_is_missing_has_its_default(quantized_models: ModuleType, tmp_path: Path) -> None:
    node = Graph(quantized_models.convolution({}, {}), tmp_path).nodes[3]
    assert (attribute(node, "pads"), attribute(node, "group", 1)) == ([1, 1, 1, 1], 1)
