from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from edgewright.ir.errors import StepError
from edgewright.ir.facts import EXPORTED
from edgewright.ir.state import InputSpec, ModelState
from edgewright.runtimes import Emitted, ModelNotes, TensorNotes
from edgewright.runtimes.onnxruntime import DATA, MODEL, OnnxEmitter
from torch import Tensor, nn

Emit = Callable[..., Emitted]
Build = Callable[[bool], nn.Module]


class Shaped(nn.Module):
    """Every way in which user code asks for sizes: view, reshape with x.shape[0], flatten, expand, interpolation."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, padding=1)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        x = nn.functional.relu6(self.convolution(x))
        x = x.view(batch, 2, 4, height, width).transpose(1, 2).reshape(batch, 8, height, width)
        x = nn.functional.interpolate(x, size=(height // 2, width // 2))
        tokens = torch.flatten(x, 2).permute(0, 2, 1)
        tokens = torch.cat([self.token.expand(batch, -1, -1), tokens], 1)
        return self.head(self.attention(tokens)[:, 0])


def operators(folder: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(folder / MODEL).graph.node)


def run(folder: Path, **inputs: Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(folder / MODEL, providers=["CPUExecutionProvider"])
    return session.run(None, {name: values.numpy() for name, values in inputs.items()})[0]


def is_close(found: np.ndarray, wanted: Tensor) -> bool:
    """Equal but for the order in which float32 sums are taken."""
    expected = wanted.detach().numpy()
    return bool(np.abs(found - expected).max() <= np.sqrt(np.finfo(np.float32).eps) * np.abs(expected).max())


def test_a_fixed_batch_leaves_no_shape_arithmetic(emit: Emit, tmp_path: Path) -> None:
    network = Shaped().eval()
    emitted = emit(network, torch.randn(2, 3, 8, 8), batch=1)
    assert emitted.files == (MODEL,)
    assert emitted.total_bytes == (tmp_path / MODEL).stat().st_size
    assert not set(operators(tmp_path)) & {"Shape", "Expand", "ConstantOfShape", "Range", "Constant", "Identity"}
    graph = onnx.load(tmp_path / MODEL).graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        assert all(axis.HasField("dim_value") for axis in value.type.tensor_type.shape.dim), value.name
    assert [value.name for value in (*graph.input, *graph.output)] == ["image", "output"]
    sample = torch.randn(1, 3, 8, 8)
    assert is_close(run(tmp_path, image=sample), network(sample))


@pytest.mark.parametrize("batch", [4, None])
def test_the_batch_is_the_recipes(emit: Emit, tmp_path: Path, batch: int | None) -> None:
    network = Shaped().eval()
    emit(network, torch.randn(2, 3, 8, 8), batch=batch)
    (axis, *_) = onnx.load(tmp_path / MODEL).graph.input[0].type.tensor_type.shape.dim
    assert (axis.dim_param if batch is None else axis.dim_value) == ("batch" if batch is None else batch)
    for size in (4,) if batch else (1, 3):
        sample = torch.randn(size, 3, 8, 8)
        assert is_close(run(tmp_path, image=sample), network(sample))


def test_a_program_of_another_fixed_batch_is_refused(tmp_path: Path) -> None:
    program = torch.export.export(nn.Linear(3, 2), (torch.randn(2, 3),))
    state = ModelState((InputSpec("x", (1, 3)),), program=program, facts=frozenset({EXPORTED}))
    with pytest.raises(StepError, match=r"input 'x' was exported as \[2, 3\], the recipe wants \[1, 3\]"):
        OnnxEmitter().emit(state, None, tmp_path)  # type: ignore[arg-type]


def test_a_model_that_is_not_exported_is_refused(tmp_path: Path) -> None:
    state = ModelState((InputSpec("x", (1, 3)),), module=nn.Linear(3, 2))
    with pytest.raises(StepError, match="needs 'exported'"):
        OnnxEmitter().emit(state, None, tmp_path)  # type: ignore[arg-type]


def test_int8_weights_stay_int8_in_the_file_and_outputs_stay_within_a_step(
    emit: Emit, quantized: Build, tmp_path: Path
) -> None:
    network = quantized(False)
    emit(network, torch.randn(2, 3, 8, 8))
    graph = onnx.load(tmp_path / MODEL).graph
    kinds = {tuple(weight.dims): weight.data_type for weight in graph.initializer}
    assert kinds[8, 3, 3, 3] == kinds[8, 8, 3, 3] == onnx.TensorProto.INT8
    assert any(weight.data_type == onnx.TensorProto.INT32 and list(weight.dims) == [8] for weight in graph.initializer)
    assert operators(tmp_path)["QuantizeLinear"] == 3
    sample = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        simulated = network(sample)
        # What one step of the last grid can do to the output: the head's weights summed over its inputs.
        step = 0.05 * network.get_submodule("head").weight.abs().sum(1).max()  # type: ignore[operator, union-attr]
    assert np.abs(run(tmp_path, image=sample) - simulated.numpy()).max() <= float(step)


def test_layers_carry_the_users_names_and_nothing_of_this_machine(emit: Emit, quantized: Build, tmp_path: Path) -> None:
    emit(quantized(False), torch.randn(2, 3, 8, 8))
    model = onnx.load(tmp_path / MODEL)
    assert {"first", "second", "head"} <= {node.name for node in model.graph.node}
    assert str(Path(__file__).parent).encode() not in model.SerializeToString()
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert not model.metadata_props


def test_a_layer_that_is_used_twice_has_two_names(emit: Emit, tmp_path: Path) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(self.layer(x))

    emit(Twice(), torch.randn(2, 3, 4, 4))
    names = [node.name for node in onnx.load(tmp_path / MODEL).graph.node]
    assert len(set(names)) == len(names)
    assert "layer" in names


def test_large_weights_lie_beside_the_model(emit: Emit, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 4)).eval()
    emitted = emit(network, torch.randn(2, 64), emitter=OnnxEmitter(external_above_bytes=10_000))
    assert emitted.files == (MODEL, DATA)
    assert emitted.total_bytes == sum((tmp_path / file).stat().st_size for file in emitted.files)
    assert (tmp_path / DATA).stat().st_size > 64 * 64 * 4 > (tmp_path / MODEL).stat().st_size
    assert (emitted.macs, emitted.parameters) == (64 * 68, 64 * 68 + 68)
    assert emitted.coverage.eligible == 2
    sample = torch.randn(1, 64)
    assert is_close(run(tmp_path, image=sample), network(sample))


def test_several_inputs_and_outputs_have_names(emit: Emit, tmp_path: Path) -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(5, 3)

        def forward(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
            return x + self.table(tokens), x * 2

    emit(Pair(), torch.randn(2, 3), torch.zeros(2, dtype=torch.int64))
    graph = onnx.load(tmp_path / MODEL).graph
    assert [value.name for value in graph.input] == ["image", "input_1"]
    assert [value.name for value in graph.output] == ["output_0", "output_1"]


def test_an_operator_without_an_onnx_form_is_named(emit: Emit) -> None:
    @torch.library.custom_op("edgewright_test::strange", mutates_args=())
    def strange(x: Tensor) -> Tensor:
        return x.clone()

    @strange.register_fake
    def _(x: Tensor) -> Tensor:
        return torch.empty_like(x)

    class Strange(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return strange(x)

    with pytest.raises(StepError, match=r"no ONNX form of the operator edgewright_test\.strange"):
        emit(Strange(), torch.randn(2, 3))


def test_it_is_quiet(emit: Emit, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        emit(nn.Linear(3, 2), torch.randn(2, 3))
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert not [record for record in caplog.records if record.name.startswith("torch.onnx")]


EMIT_IN_ANOTHER_PROCESS = """
import hashlib, sys
from pathlib import Path
import torch
from torch import nn
from edgewright.ir.facts import EXPORTED
from edgewright.ir.state import InputSpec, ModelState
from edgewright.runtimes.onnxruntime import OnnxEmitter

torch.manual_seed(0)
network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)).eval()
program = torch.export.export(network, (torch.randn(2, 3, 8, 8),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
state = ModelState((InputSpec("image", (1, 3, 8, 8)),), program=program, facts=frozenset({EXPORTED}))
OnnxEmitter().emit(state, None, Path(sys.argv[1]))
"""


def test_the_same_model_gives_the_same_bytes_in_two_processes(tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        subprocess.run([sys.executable, "-c", EMIT_IN_ANOTHER_PROCESS, str(folder)], check=True)
        digests.add(hashlib.sha256((folder / MODEL).read_bytes()).hexdigest())
    assert len(digests) == 1


class Decomposed(nn.Module):
    """Operators that have no ONNX form of their own: torch takes them apart, some when asked and some unasked."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.norm(self.convolution(x)).relu()).flatten(1))


@pytest.mark.parametrize("kind", [Decomposed, Shaped])
def test_emitting_leaves_the_state_as_it_was(tmp_path: Path, kind: Callable[[], nn.Module]) -> None:
    network, example = kind().eval(), torch.randn(2, 3, 8, 8)
    program = torch.export.export(network, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    before = str(program)
    state = ModelState((InputSpec("image", (2, 3, 8, 8)),), program=program, facts=frozenset({EXPORTED}))
    OnnxEmitter().emit(state, None, tmp_path)  # type: ignore[arg-type]
    assert str(program) == before
    assert is_close(run(tmp_path, image=example), network(example))


def test_the_file_says_what_the_recipe_says_of_the_network(emit: Emit, tmp_path: Path) -> None:
    network = Shaped().eval()
    emit(network, torch.randn(2, 3, 8, 8))
    assert not onnx.load(tmp_path / MODEL).metadata_props
    notes = ModelNotes("shapes", license="MIT", inputs=(TensorNotes(mean=(0.5,), std=(2.0,)),))
    notes = replace(notes, outputs=(TensorNotes(labels=("a", "b c")),))
    emit(network, torch.randn(2, 3, 8, 8), notes=notes)
    found = {entry.key: entry.value for entry in onnx.load(tmp_path / MODEL).metadata_props}
    assert found == {
        "name": "shapes",
        "license": "MIT",
        "image.mean": "0.5",
        "image.std": "2.0",
        "labels": "a\nb c",
    }
