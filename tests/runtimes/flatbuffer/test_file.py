from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from edgewright.ir.errors import InputError
from edgewright.runtimes.flatbuffer.file import BUFFER_ALIGNMENT, IDENTIFIER, read, to_bytes, write
from edgewright.runtimes.flatbuffer.graph import inputs, operators, tensors
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def content(tflite_models: ModuleType) -> bytes:
    return to_bytes(tflite_models.convolution())


def test_what_is_written_is_read_back_as_the_same_bytes(content: bytes, tflite_models: ModuleType) -> None:
    model = read(content)
    assert [tensor.name for tensor in tensors(model)] == [
        tensor.name for tensor in tensors(tflite_models.convolution())
    ]
    assert to_bytes(model) == to_bytes(tflite_models.convolution()) == content


def test_the_file_runs(content: bytes, tflite_models: ModuleType) -> None:
    (scores,) = tflite_models.run(content, np.ones((1, 4, 4, 2), np.float32))
    assert scores.shape == (1, 4, 4, 4)
    assert np.ptp(scores) > 0


def test_constants_lie_where_kernels_can_load_them_at_once(content: bytes) -> None:
    weights = next(tensor for tensor in tensors(read(content)) if tensor.name == "weights")
    assert content.index(weights.values().tobytes()) % BUFFER_ALIGNMENT == 0


def test_scales_and_zero_points_that_tensors_have_in_common_are_stored_once(tflite_models: ModuleType) -> None:
    """Each of 64 more tensors with the grid of the weights has a table, a name and a shape of its own, and no more."""
    model = tflite_models.convolution()
    grid, channels = next(t.quantization for t in model.subgraphs[0].tensors if t.name == "weights"), 512
    grid.scale, grid.zeroPoint = np.full(channels, 0.01, np.float32), np.zeros(channels, np.int64)
    alone = len(to_bytes(model))
    for number in range(64):
        tensor = copy.copy(model.subgraphs[0].tensors[0])
        tensor.name, tensor.quantization = f"more {number}", copy.copy(grid)
        model.subgraphs[0].tensors.append(tensor)
    content = to_bytes(model)
    assert len(content) - alone < 64 * (grid.scale.nbytes + grid.zeroPoint.nbytes) / 10
    found = [tensor for tensor in tensors(read(content)) if tensor.name.startswith("more")]
    assert len(found) == 64
    assert all(t.scales == tuple(grid.scale) and t.zero_points == (0,) * channels for t in found)


def test_what_a_grid_says_beside_scales_is_kept(tflite_models: ModuleType) -> None:
    model = tflite_models.convolution()
    model.subgraphs[0].tensors[0].quantization.min = np.array([-1.5], np.float32)
    first, second = read(to_bytes(model)).subgraphs[0].tensors[:2]
    assert first.quantization.min == [-1.5]
    assert second.quantization.min is None


def test_a_file_is_written_whole(tmp_path: Path, tflite_models: ModuleType, content: bytes) -> None:
    write(tflite_models.convolution(), tmp_path / "model.tflite")
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]
    assert (tmp_path / "model.tflite").read_bytes() == content
    assert len(operators(read(tmp_path / "model.tflite"))) == 3


def test_what_stands_behind_the_flatbuffer_is_not_of_the_model(content: bytes) -> None:
    assert to_bytes(read(content + b"PK and a zip file")) == content


def test_data_behind_the_flatbuffer_is_read(tflite_models: ModuleType) -> None:
    """As files over 2 GiB hold it; the values are those of the file that holds them within."""
    model = tflite_models.convolution("int8")
    buffer = model.buffers[1]
    weights = bytes(buffer.data)
    buffer.data, buffer.offset, buffer.size = None, 2, len(weights)

    def packed() -> bytes:
        import flatbuffers

        builder = flatbuffers.Builder(0)
        builder.Finish(model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())

    buffer.offset = len(packed())
    assert to_bytes(read(packed() + weights)) == to_bytes(tflite_models.convolution("int8"))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "a file of 0 bytes"),
        (b"TFL3", "a file of 4 bytes"),
        (b"PK\3\4, a zip file", "a zip file"),
        (b"\x08\0\0\0ONNXmore", "b'ONNX' where the identifier stands"),
        (b"\x1c\0\0\0TFL3", "cut short or damaged: an offset that leads nowhere"),
    ],
)
def test_what_is_no_tflite_file_is_refused_with_what_it_is(content: bytes, found: str, tmp_path: Path) -> None:
    (tmp_path / "strange.tflite").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read(tmp_path / "strange.tflite")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'strange.tflite'}: expected a whole TFLite file")
    assert found in message


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.tflite: expected a readable file, got no such file"):
        read(tmp_path / "none.tflite")


def test_no_cut_gives_a_traceback(content: bytes) -> None:
    """However much is missing, the file is refused, or it lacks only padding and is the same."""
    for end in range(8, len(content)):
        try:
            found = to_bytes(read(content[:end]))
        except InputError:
            continue
        assert found == content


@settings(max_examples=300, deadline=None)
@given(place=st.integers(8, 10**9), value=st.integers(0, 255))
def test_no_damage_gives_a_traceback(place: int, value: int, content: bytes) -> None:
    """A byte that is wrong is refused, or gives a model whose every operator can be read."""
    damaged = bytearray(content)
    damaged[8 + place % (len(content) - 8)] = value
    try:
        model = read(bytes(damaged))
    except InputError:
        return
    assert isinstance(operators(model), tuple)


def _set(path: str, value: Any) -> Callable[[Any], None]:
    """Sets what `path` names within the model's only graph."""

    def change(model: Any) -> None:
        holder = model.subgraphs[0]
        *names, last = path.split(".")
        for name in names:
            holder = holder[int(name)] if name.isdigit() else vars(holder)[name]
        vars(holder)[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "flaw"),
    [
        (_set("inputs", [99]), "tensor 99, which is not there"),
        (_set("operators.0.inputs", [-2]), "tensor -2, which is not there"),
        (_set("operators.0.outputs", [-1]), "tensor -1, which is not there"),
        (_set("operators.0.opcodeIndex", 7), "operator code 7, which is not there"),
        (_set("tensors.0.buffer", 50), "buffer 50, which is not there"),
        (_set("tensors.1.shape", np.array([5, 3, 3, 2], np.int32)), "tensor weights with 72 of 90 bytes"),
        (lambda model: vars(model).update(version=4), "schema version 4 with 1 subgraphs"),
        (lambda model: vars(model).update(subgraphs=[]), "schema version 3 with 0 subgraphs"),
        (lambda model: vars(model.operatorCodes[0]).update(builtinCode=9999), "operator 9999, which is not there"),
        (lambda model: vars(model.signatureDefs[0].inputs[0]).update(tensorIndex=88), "tensor 88, which is not there"),
        (lambda model: vars(model.signatureDefs[0]).update(subgraphIndex=3), "subgraph 3, which is not there"),
    ],
)
def test_a_file_that_no_interpreter_could_follow_is_refused(
    change: Callable[[Any], None], flaw: str, tflite_models: ModuleType
) -> None:
    model = tflite_models.convolution()
    change(model)
    with pytest.raises(InputError, match=flaw):
        read(to_bytes(model))


@pytest.mark.parametrize(
    "name", ["ic/pretrainedResnet_quant", "ic/pretrainedResnet", "kws/kws_ref_model", "ad/ad01_int8"]
)
def test_real_files_give_the_same_outputs_when_written_again(
    name: str, shared_data: Path, tflite_models: ModuleType
) -> None:
    path = shared_data / f"mlperf_tiny/{name}.tflite"
    written = to_bytes(read(path))
    (tensor,) = inputs(read(path))
    random = np.random.default_rng(0).normal(size=tensor.shape)
    array = (20 * random).astype(tensor.dtype)
    before, after = (tflite_models.run(content, array) for content in (path.read_bytes(), written))
    assert all(np.array_equal(*pair) for pair in zip(before, after, strict=True))
    assert to_bytes(read(written)) == written
