from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from edgewright.runtimes.flatbuffer.file import read, to_bytes
from edgewright.runtimes.flatbuffer.graph import operators, text
from edgewright.runtimes.flatbuffer.versions import (
    METADATA,
    METADATA_BYTES,
    LowestRuntime,
    lowest_runtime,
    lowest_version,
    set_versions,
    write_lowest_runtime,
)


def test_each_operator_has_its_version_and_operators_alike_share_a_code(tflite_models: ModuleType) -> None:
    more = [tflite_models.Value("doubled", (1, 4, 4, 4))]
    step = tflite_models.Step("ADD", ("scores", "scores"), ("doubled",))
    again = tflite_models.Step("ADD", ("layer;convolution", "layer;convolution"), ("sum",), version=1)
    more.append(tflite_models.Value("sum", (1, 4, 4, 4), "int8", (0.5,), (0,)))
    model = tflite_models.convolution(extra=[step, again], more=more)
    set_versions(model)
    found = [(operator.name, operator.version) for operator in operators(read(to_bytes(model)))]
    assert found == [("QUANTIZE", 1), ("CONV_2D", 3), ("DEQUANTIZE", 2), ("ADD", 1), ("ADD", 2)]
    assert len(model.operatorCodes) == 5


def test_an_operator_over_127_keeps_the_mark_of_one_in_the_older_field(tflite_models: ModuleType) -> None:
    values = [
        tflite_models.Value("a", (1,), "int8", (1.0,), (0,)),
        tflite_models.Value("b", (1,), "int8", (1.0,), (0,)),
    ]
    model = tflite_models.build(values, [tflite_models.Step("GELU", ("a",), ("b",))], ["a"], ["b"])
    set_versions(model)
    (code,) = model.operatorCodes
    assert (code.deprecatedBuiltinCode, code.builtinCode, code.version) == (127, 150, 2)


def test_the_model_computes_the_same(tflite_models: ModuleType) -> None:
    model = tflite_models.convolution()
    image = np.random.default_rng(0).normal(size=(1, 4, 4, 2)).astype(np.float32)
    before = tflite_models.run(to_bytes(model), image)
    set_versions(model)
    write_lowest_runtime(model)
    assert np.array_equal(before, tflite_models.run(to_bytes(model), image))


def test_the_oldest_runtime_is_that_of_the_newest_version(tflite_models: ModuleType) -> None:
    lowest = lowest_runtime(tflite_models.convolution("int8"))
    assert lowest == LowestRuntime("1.14.0", "CONV_2D version 3")
    assert str(lowest) == "1.14.0 (CONV_2D version 3)"


def test_versions_are_ordered_as_numbers(tflite_models: ModuleType) -> None:
    """2.11.0 is newer than 2.9.0, and a patch release keeps its third number."""
    values = [tflite_models.Value("a", (1,)), tflite_models.Value("b", (1,))]

    def version(*kinds: tuple[str, int]) -> str:
        steps = [tflite_models.Step(name, ("a",), ("b",), version=number) for name, number in kinds]
        return lowest_runtime(tflite_models.build(values, steps, ["a"], ["b"])).version

    assert version(("LEAKY_RELU", 1)) == "1.13.1"
    assert version(("LEAKY_RELU", 1), ("GELU", 2)) == "2.9.0"
    assert version(("CONV_2D", 7), ("GELU", 2)) == "2.11.0"


@pytest.mark.parametrize(
    ("name", "custom", "version"), [("", "Strange", 1), ("CONV_2D", "", 99), ("BROADCAST_TO", "", 1)]
)
def test_what_no_table_knows_is_named(name: str, custom: str, version: int, tflite_models: ModuleType) -> None:
    step = tflite_models.Step(name, ("a", "a"), ("b",), version=version, custom=custom)
    values = [tflite_models.Value("a", (1, 1, 1, 1)), tflite_models.Value("b", (1, 1, 1, 1))]
    model = tflite_models.build(values, [step], ["a"], ["b"])
    assert lowest_runtime(model).unknown == (custom or name,)
    assert lowest_runtime(model).because == "no operator asks for a newer one"


def test_an_operator_that_no_table_knows_keeps_its_version(tflite_models: ModuleType) -> None:
    step = tflite_models.Step("", ("a",), ("b",), version=4, custom="Strange")
    values = [tflite_models.Value("a", (1,)), tflite_models.Value("b", (1,))]
    (operator,) = operators(tflite_models.build(values, [step], ["a"], ["b"]))
    assert lowest_version(operator) == 4


def test_the_oldest_runtime_stands_in_the_file_once(tflite_models: ModuleType) -> None:
    model = tflite_models.convolution("int8")
    write_lowest_runtime(model)
    assert write_lowest_runtime(model).version == "1.14.0"
    written = read(to_bytes(model))
    assert [text(entry.name) for entry in written.metadata] == [METADATA]
    content = bytes(written.buffers[written.metadata[0].buffer].data)
    assert content == b"1.14.0".ljust(METADATA_BYTES, b"\0")


@pytest.mark.parametrize(
    ("name", "release"),
    [
        ("ic/pretrainedResnet_quant", "1.14.0"),
        ("ic/pretrainedResnet", "1.5.0"),
        ("kws/kws_ref_model", "1.14.0"),
        ("ad/ad01_int8", "1.14.0"),
    ],
)
def test_files_of_tensorflows_own_converter_have_these_versions(name: str, release: str, shared_data: Path) -> None:
    """TensorFlow's converter sets versions by op_version.cc: on its files, nothing changes."""
    model = read(shared_data / f"mlperf_tiny/{name}.tflite")
    before = [(operator.name, operator.version) for operator in operators(model)]
    set_versions(model)
    assert [(operator.name, operator.version) for operator in operators(model)] == before
    assert lowest_runtime(model).version == release
