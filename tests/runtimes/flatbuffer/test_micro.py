from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from edgewright.ir.errors import InputError
from edgewright.runtimes.flatbuffer.arena import ALIGNMENT, arena
from edgewright.runtimes.flatbuffer.file import to_bytes, write
from edgewright.runtimes.flatbuffer.micro import arena_bytes, check, flash_bytes, write_c_array


@pytest.fixture
def small(tmp_path: Path, tflite_models: ModuleType) -> Path:
    write(tflite_models.convolution("int8"), tmp_path / "small.tflite")
    return tmp_path / "small.tflite"


def test_a_file_of_known_operators_is_not_refused(small: Path) -> None:
    assert check(small, ["CONV_2D", "ADD"]) == ()


def test_each_operator_that_is_missing_is_named_once_with_its_place(tflite_models: ModuleType, tmp_path: Path) -> None:
    steps = [tflite_models.Step("RELU", ("scores",), ("a",)), tflite_models.Step("RELU", ("a",), ("b",))]
    more = [tflite_models.Value(name, (1, 4, 4, 4)) for name in "ab"]
    write(tflite_models.convolution(extra=steps, more=more), tmp_path / "model.tflite")
    assert check(tmp_path / "model.tflite", ["QUANTIZE", "DEQUANTIZE"]) == (
        "CONV_2D (at weights): the profile's micro.operators does not have it",
        "RELU (2 times, first at a): the profile's micro.operators does not have it",
    )


def _layer(models: ModuleType, values: str, out: str, path: Path) -> Path:
    """A FULLY_CONNECTED with int8 weights and values of a type."""
    weights = models.Value("layer", (4, 2), "int8", (0.1,), (0,), 0, np.ones((4, 2), np.int8))
    ends = [models.Value("x", (1, 2), values, (0.1,), (0,)), models.Value("y", (1, 4), out, (0.1,), (0,))]
    step = models.Step("FULLY_CONNECTED", ("x", "layer", ""), ("y",))
    write(models.build([weights, *ends], [step], ["x"], ["y"]), path)
    return path


def test_integer_weights_under_floats_and_unsigned_values_are_refused(
    tflite_models: ModuleType, tmp_path: Path
) -> None:
    hybrid = _layer(tflite_models, "float32", "float32", tmp_path / "hybrid.tflite")
    unsigned = _layer(tflite_models, "uint8", "uint8", tmp_path / "unsigned.tflite")
    assert check(hybrid, ["FULLY_CONNECTED"]) == (
        "FULLY_CONNECTED (at layer): integer weights under float values; ask for mode: static",
    )
    assert check(unsigned, ["FULLY_CONNECTED"]) == (
        "FULLY_CONNECTED (at layer): uint8 values; there are kernels for int8 only",
    )


def test_an_open_shape_is_refused_but_for_the_batch(tflite_models: ModuleType, tmp_path: Path) -> None:
    for shape, expected in (
        ((-1, 4, 4, 2), ()),
        ((1, -1, 4, 2), ("codes: its shape is open; nothing is resized on a microcontroller",)),
    ):
        model = tflite_models.convolution("int8")
        model.subgraphs[0].tensors[0].shapeSignature = np.array(shape, np.int32)
        write(model, tmp_path / "model.tflite")
        assert check(tmp_path / "model.tflite", ["CONV_2D"]) == expected


def test_real_files_are_what_the_published_board_runs(shared_data: Path) -> None:
    """MLPerf Tiny's reference networks run on a Cortex-M4 (https://github.com/mlcommons/tiny)."""
    known = ["ADD", "AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "RESHAPE", "SOFTMAX"]
    for name in ("ic/pretrainedResnet_quant", "kws/kws_ref_model", "ad/ad01_int8"):
        assert check(shared_data / f"mlperf_tiny/{name}.tflite", known) == ()
    (hybrid,) = check(shared_data / "mlperf_tiny/kws/kws_ref_model_float32.tflite", known)
    assert hybrid.startswith("CONV_2D (5 times, first at functional_1/conv2d/Conv2D): integer weights")


def test_the_interpreter_itself_refuses_what_check_refuses(shared_data: Path) -> None:
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime", reason="tflite-micro is not here")
    with pytest.raises(RuntimeError):
        runtime.Interpreter.from_file(
            str(shared_data / "mlperf_tiny/kws/kws_ref_model_float32.tflite"), arena_size=10**6
        )


def test_the_interpreter_computes_what_litert_does(small: Path, tflite_models: ModuleType) -> None:
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime", reason="tflite-micro is not here")
    codes = np.random.default_rng(0).integers(-128, 128, (1, 4, 4, 2), np.int8)
    interpreter = runtime.Interpreter.from_file(str(small), arena_size=arena(small).bytes)
    interpreter.set_input(codes, 0)
    interpreter.invoke()
    (expected,) = tflite_models.run(small.read_bytes(), codes)
    steps = np.abs(interpreter.get_output(0).astype(int) - expected)
    assert steps.max() <= 1  # one quantization step: kernels round halves differently


def test_memory_is_that_of_the_file_and_of_its_arena(small: Path) -> None:
    assert arena_bytes(small) == arena(small, "cmsis-nn").bytes
    assert 0 <= flash_bytes(small) - small.stat().st_size < ALIGNMENT


def test_the_c_array_is_the_file(small: Path, tmp_path: Path) -> None:
    header, source = write_c_array(small, tmp_path, "model_data")
    content = small.read_bytes()
    listed = source.read_text().partition("{")[2].partition("}")[0]
    assert bytes(int(byte, 16) for byte in listed.replace(",", " ").split()) == content
    assert f"model_data_len = {len(content)};" in source.read_text()
    assert hashlib.sha256(content).hexdigest() in header.read_text()
    assert header.read_text().count("MODEL_DATA_H_") == 3


def test_the_same_file_gives_the_same_text(small: Path, tmp_path: Path, tflite_models: ModuleType) -> None:
    first = [path.read_bytes() for path in write_c_array(small, tmp_path, "model_data")]
    small.write_bytes(to_bytes(tflite_models.convolution("int8")))
    assert [path.read_bytes() for path in write_c_array(small, tmp_path, "model_data")] == first


@pytest.mark.parametrize("name", ["1model", "a b", "../model", "", "größe"])
def test_a_name_that_c_would_not_take_is_refused(name: str, small: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the C array: name: expected an identifier"):
        write_c_array(small, tmp_path, name)


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_a_compiler_takes_the_array_and_aligns_it(small: Path, tmp_path: Path) -> None:
    write_c_array(small, tmp_path, "model_data")
    (tmp_path / "main.cc").write_text(
        '#include "model_data.h"\n#include <cstdint>\n#include <cstdio>\n'
        "int main() {\n"
        f"  if (reinterpret_cast<std::uintptr_t>(model_data) % {ALIGNMENT}) return 1;\n"
        "  return std::fwrite(model_data, 1, model_data_len, stdout) != sizeof(model_data);\n}\n"
    )
    command = ["g++", "-Wall", "-Werror", "main.cc", "model_data.cc", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert subprocess.run(["./main"], cwd=tmp_path, check=True, capture_output=True).stdout == small.read_bytes()
