"""The TFLite emitter: fully integer files with exactly the graph's scales, that compute what was simulated."""

from __future__ import annotations

import copy
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from edgewright.benchmarks.accuracy import parity
from edgewright.devices import tflite_runtime
from edgewright.devices.contract import Device
from edgewright.devices.local import LocalDevice
from edgewright.ir.errors import InputError, StepError
from edgewright.ir.graph import editable, tensor_of
from edgewright.ir.state import InputSpec, ModelState
from edgewright.passes import manager
from edgewright.passes.calibrate import Calibrate
from edgewright.passes.convert_to_float16 import ConvertToFloat16
from edgewright.passes.export import Export
from edgewright.passes.fold_batchnorm import FoldBatchnorm
from edgewright.passes.insert_quantization import InsertQuantization
from edgewright.passes.quantize_weights import QuantizeWeights
from edgewright.pipeline.parity import AGREEMENT, SIMULATED_STEPS
from edgewright.pipeline.store import devices_folder
from edgewright.quantization.integer_graph import Kernels
from edgewright.recipe.schema import Recipe
from edgewright.runtimes import Emitted, ModelNotes, TensorNotes, open_runner
from edgewright.runtimes.flatbuffer.coverage import transposes
from edgewright.runtimes.flatbuffer.file import read
from edgewright.runtimes.flatbuffer.graph import operators, tensors, text
from edgewright.runtimes.tflite import MODEL, TfliteEmitter
from edgewright.targets import Target, load_target
from torch import Tensor, nn
from torch.nn import functional

SHAPE = (3, 16, 16)
ROWS = 5
TARGET = load_target("arm64-cortex-a72", Path("/"))
KINDS = ["Residual", "PaddedResidual", "DepthwiseSeparable", "Grouped", "Dense", "SqueezeExcite", "Shuffled"]
State = Callable[..., ModelState]
Checks = Callable[..., None]


class Segmentation(nn.Module):
    """Pooling, concatenation, a leaky ReLU, both ways of upsampling, and a sigmoid at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
        self.third, self.head = nn.Conv2d(16, 8, 3, padding=1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = torch.relu(self.first(x))
        coarse = functional.interpolate(torch.relu(self.second(fine)), scale_factor=2, mode="nearest")
        x = functional.max_pool2d(functional.leaky_relu(self.third(torch.cat([fine, coarse], 1)), 0.1), 2)
        x = functional.interpolate(functional.avg_pool2d(x, 2), scale_factor=4, mode="bilinear")
        return torch.sigmoid(self.head(x))


class Classes(nn.Module):
    """A tanh inside and a softmax at the end: kernels whose output scales are fixed. Pooling that is flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.adaptive_avg_pool2d(torch.tanh(functional.gelu(self.first(x))), 1).flatten(1)
        return torch.softmax(self.head(x), -1)


class Mixed(nn.Module):
    """A concatenation of tensors whose scales can't be one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(3, 8, 3, 2, 1)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([torch.sigmoid(self.first(x)), torch.relu(self.second(x))], 1)
        return self.head(torch.relu(x).mean((2, 3)))


class Activations(nn.Module):
    """Hard swish, leaky ReLU, ReLU6 and clamp, and a difference."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        left, right = functional.hardswish(self.first(x)), functional.leaky_relu(self.second(x), 0.1)
        return self.head((functional.relu6(left) - right).clamp(0, 6).mean((2, 3)))


class Products(nn.Module):
    """Attention without its normalization: products of two activations."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.head = nn.Linear(48, 16), nn.Linear(48, 16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 1, 3).reshape(x.shape[0], 16, 48)
        weights = torch.softmax(torch.matmul(self.query(rows), self.key(rows).transpose(1, 2)), -1)
        return self.head(torch.bmm(weights, self.key(rows)).mean(1))


class Series(nn.Module):
    """A convolution over time, and numbers in the formula."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv1d(16, 8, 3, padding=1), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.first(x.mean(1)) * 1.5 + 0.25).mean(2))


class Gated(nn.Module):
    """The end of a mobile block: hard sigmoid gates, GELU, and numbers in the formula."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.squeeze, self.excite = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.hardswish(self.first(x) * 1.5 + 0.25)
        gates = functional.hardsigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        return self.head(functional.gelu(x * gates).mean((2, 3)) / 2)


class Recurrent(nn.Module):
    """A recurrent layer over the first rows of an image: each step of it is a dozen operators."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer, self.head = getattr(nn, kind)(48, 8, batch_first=True), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        rows = x[:, :, :ROWS].permute(0, 2, 1, 3).reshape(x.shape[0], ROWS, 48)
        return self.head(self.layer(rows)[0][:, -1])


class Together(nn.Module):
    """Networks side by side: each conversion takes seconds of its own."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(part(x) for part in self.parts)


class Ends(nn.Module):
    """A convolution that is an output, and what moves its values, each at an end of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = torch.relu(self.first(x))
        nearest = functional.interpolate(x, scale_factor=2)
        bilinear = functional.interpolate(x, (13, 16), mode="bilinear")
        return x, functional.max_pool2d(x, 2), functional.avg_pool2d(x, 2), nearest, bilinear


class Upsampled(nn.Module):
    """A segmentation head: scores for each position of the image, from those of a smaller one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.head(torch.relu(self.first(x)))
        return functional.interpolate(scores, x.shape[-2:], mode="bilinear", align_corners=True)


class Encoder(nn.Module):
    """torch's own transformer encoder layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(48, 32), nn.Linear(32, 10)
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu")

    def forward(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 1, 3).reshape(x.shape[0], 16, 48)
        return self.head(self.layer(self.embed(rows)).mean(1))


def images(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def quantized(make_recipe: Callable[..., Recipe], make_context: Any) -> State:
    """quantized(module, target=TARGET, ...): its state, calibrated and quantized for the target."""

    def run(module: nn.Module, target: Target = TARGET, **quantize: Any) -> ModelState:
        recipe = make_recipe(compress={"quantize": {"calibration": {"samples": 64}, **quantize}})
        context = make_context(calibration=(images(64), torch.arange(64) % 10))
        state = ModelState((InputSpec("image", (1, *SHAPE)),), module.eval())
        steps = [step.for_target(target, recipe) for step in (Export, Calibrate, InsertQuantization)]
        for step in (steps[0], FoldBatchnorm(), *steps[1:]):
            state = manager.run(step, state, context)
        return state

    return run


@pytest.fixture
def check(integer_kernels: ModuleType, check_outputs: Checks) -> Checks:
    """check(state, folder): the file is integer throughout, and computes what was simulated as closely as is promised.

    Without XNNPACK, and in the old interpreter, it computes what a model of their kernels does, to the bit. HARD_SWISH
    alone is not modelled: its kernels have a fixed point of their own, and one value in tens of thousands differs.
    """

    def run(state: ModelState, folder: Path, target: Target = TARGET) -> None:
        emitted = TfliteEmitter().emit(state, target, folder)
        assert emitted.coverage.quantized == emitted.coverage.eligible > 0
        assert (emitted.coverage.float_operators, emitted.coverage.conversions) == ((), 0)
        assert {tensor.dtype for tensor in tensors(read(folder / MODEL))} <= {"int8", "int32"}
        has_hard_swish = any(operator.name == "HARD_SWISH" for operator in operators(read(folder / MODEL)))
        places = {} if has_hard_swish else integer_kernels.interpreters()
        check_outputs(state, folder, emitted, Kernels.OLD_X86 not in places)
        for kernels, place in places.items():
            found, wanted = integer_kernels.answers(kernels, place, state, folder / MODEL, emitted.ports, images(64, 6))
            differ = [f"{(one != other).mean():.3%}" for one, other in zip(found, wanted, strict=True)]
            assert all(map(np.array_equal, found, wanted)), f"{kernels.value}: of the outputs' values differ {differ}"

    return run


@pytest.fixture
def check_outputs(integer_kernels: ModuleType) -> Checks:
    """check_outputs(state, folder, emitted, with_old=True): ai-edge-litert computes what was simulated.

    So does the old interpreter, where it could be made at set-up. Its kernels round otherwise, and weights are random,
    so that many samples have two outputs within the steps that golden vectors allow: which is larger is then no answer.
    """

    def run(state: ModelState, folder: Path, emitted: Emitted, with_old: bool = True) -> None:
        samples, steps = images(200, 5), state.attachments["quantization"]["output_steps"]
        simulated = integer_kernels.computed(state.callable_module(), samples)
        for wanted, found, step in zip(simulated, ran(LocalDevice(), folder, emitted, samples), steps, strict=True):
            close = parity(wanted, found, step)
            assert close.within_one_step >= TfliteEmitter.within_one
            assert close.argmax_agreement is None or close.argmax_agreement >= AGREEMENT
        old = tflite_runtime.find(devices_folder()) if with_old else None
        answers = ran(old, folder, emitted, samples) if old else ()
        for wanted, found, step in zip(simulated, answers, steps, strict=True) if old else ():
            assert parity(wanted, found, step).within_one_step >= TfliteEmitter.within_one
            assert wanted.ndim != 2 or agreement_of_decided(wanted, found, step) >= AGREEMENT

    return run


def ran(device: Device, folder: Path, emitted: Emitted, samples: Tensor) -> list[np.ndarray]:
    with open_runner("tflite", device, folder / MODEL, 1, emitted.ports) as runner:
        return runner.run({"image": samples.numpy()})


def agreement_of_decided(wanted: np.ndarray, found: np.ndarray, step: float) -> float:
    """How many samples have the same largest output, of those that have one by more than golden vectors allow."""
    first, second = np.sort(wanted, axis=1)[:, :-3:-1].T
    decided = first - second > SIMULATED_STEPS * step
    assert decided.any()
    agreement = parity(wanted[decided], found[decided], step).argmax_agreement
    assert agreement is not None
    return agreement


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_usual_structures_are_integer_and_compute_what_was_simulated(
    kind: str, networks: ModuleType, quantized: State, check: Checks, tmp_path: Path
) -> None:
    check(quantized(networks.random(getattr(networks, kind))), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Segmentation, Classes, Mixed, Activations, Products, Series, Gated])
def test_heads_are_integer_too(kind: type[nn.Module], quantized: State, check: Checks, tmp_path: Path) -> None:
    torch.manual_seed(0)
    check(quantized(kind()), tmp_path)


class Squashed(nn.Module):
    """The kernels whose output scales are fixed, and activations that are none of a layer's."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        left, right = torch.tanh(self.first(x)), functional.relu6(torch.sigmoid(self.second(x)) - 0.5)
        return torch.softmax(self.head((left * right).mean((2, 3))), -1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*(kind for kind in KINDS if kind not in ("Dense", "Shuffled")), Squashed])
def test_activations_of_16_bits_are_closer_to_float_and_computed_by_both_interpreters(
    kind: Any, networks: ModuleType, quantized: State, integer_kernels: ModuleType, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    module = networks.random(getattr(networks, kind)) if isinstance(kind, str) else kind()
    floats = copy.deepcopy(module).eval()
    state = quantized(copy.deepcopy(module), activations={"bits": 16})
    emitted = TfliteEmitter().emit(state, TARGET, tmp_path)
    assert emitted.coverage.quantized == emitted.coverage.eligible > 0
    assert (emitted.coverage.float_operators, emitted.coverage.conversions) == ((), 0)
    assert {port.dtype for port in (*emitted.ports.inputs, *emitted.ports.outputs)} == {"int16"}
    samples, (step,) = images(64, 5), state.attachments["quantization"]["output_steps"]
    simulated = integer_kernels.computed(state.callable_module(), samples)[0]
    old = tflite_runtime.find(devices_folder())
    for device in (LocalDevice(), *([old] if old else [])):
        assert parity(simulated, ran(device, tmp_path, emitted, samples)[0], step).largest_steps < 0.1
    with torch.no_grad():
        wanted = floats(samples)
        off = [
            (torch.from_numpy(integer_kernels.computed(each.callable_module(), samples)[0]) - wanted).square().mean()
            for each in (state, quantized(module))
        ]
    assert off[0] < off[1]


@pytest.mark.slow
def test_what_moves_values_at_the_end_is_integer_too(quantized: State, check: Checks, tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = quantized(Ends())
    check(state, tmp_path)
    assert len(set(state.attachments["quantization"]["output_steps"])) == 1
    found = [operator.name for operator in operators(read(tmp_path / MODEL))]
    ends = ["MAX_POOL_2D", "AVERAGE_POOL_2D", "RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR"]
    assert sorted(found) == sorted(["PAD", "CONV_2D", *ends])


@pytest.mark.slow
def test_a_microcontrollers_network_ends_with_an_upsampling(quantized: State, check: Checks, tmp_path: Path) -> None:
    torch.manual_seed(0)
    micro = load_target("arm-cortex-m")
    check(quantized(Upsampled(), target=micro), tmp_path, micro)
    found = [operator.name for operator in operators(read(tmp_path / MODEL))]
    assert found == ["PAD", "CONV_2D", "CONV_2D", "RESIZE_BILINEAR"]


def test_phones_are_quantized_as_boards_are() -> None:
    """Then what is shown for one target holds for the others."""
    phone, board, other = (
        load_target(name).quantization.int8_static for name in ("android-arm64", TARGET.name, "arm64-cortex-a76")
    )
    assert phone == board == other


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_recurrent_layers_are_integer_step_by_step(kind: str, quantized: State, check: Checks, tmp_path: Path) -> None:
    torch.manual_seed(0)
    check(quantized(Recurrent(kind)), tmp_path)
    once = 8 * (3 if kind == "GRU" else 4) * (48 + 8)
    assert sum(len(buffer.data) for buffer in read(tmp_path / MODEL).buffers if buffer.data is not None) < 2 * once


def test_every_scale_is_the_graphs(networks: ModuleType, quantized: State, tmp_path: Path) -> None:
    """Of activations, of weights per channel, and of biases: their scale is input scale times weight scale."""
    state = quantized(networks.random(networks.Residual))
    TfliteEmitter().emit(state, TARGET, tmp_path)
    module = editable(state.exported_program())
    q = torch.ops.quantized_decomposed
    ours, weights = set(), set()
    for node in module.graph.nodes:
        if node.target is q.quantize_per_tensor.default:
            ours.add((float(np.float32(node.args[1])), node.args[2]))
        if node.target is q.dequantize_per_channel.default and node.args[-1] is torch.int8:
            scales = tensor_of(module, node.args[1]).unique_consecutive()
            weights.add(tuple(map(float, scales)))
    model = read(tmp_path / MODEL)
    biases = 0
    for operator in operators(model):
        for tensor in operator.inputs + operator.outputs:
            if tensor is None or tensor.dtype != "int8":
                continue
            if tensor.is_constant:
                assert tuple(np.unique(tensor.scales)) in {tuple(np.unique(each)) for each in weights}
            else:
                assert (tensor.scales[0], tensor.zero_points[0]) in ours
        if len(operator.inputs) == 3 and operator.inputs[2].dtype == "int32":
            given, weight, bias = operator.inputs
            wanted = np.float32(given.scales[0]) * np.array(weight.scales, np.float32)
            assert np.array_equal(np.array(bias.scales, np.float32), np.broadcast_to(wanted, len(bias.scales)))
            biases += 1
    assert biases == len(state.attachments["quantization"]["layers"])
    assert transposes(tmp_path / MODEL) == ()


@pytest.mark.slow
@pytest.mark.parametrize("kept", ["first", "second", "third"])
def test_a_layer_that_the_recipe_keeps_is_float_between_integers(
    kept: str, networks: ModuleType, quantized: State, check_outputs: Checks, tmp_path: Path
) -> None:
    """litert-torch alone would quantize it, with scales that it makes up."""
    state = quantized(networks.random(networks.Plain), keep_float=[kept], allow_float=True)
    emitted = TfliteEmitter().emit(state, TARGET, tmp_path)
    assert (emitted.coverage.eligible - emitted.coverage.quantized, emitted.coverage.float_operators) == (
        1,
        (("CONV_2D", 1),),
    )
    check_outputs(state, tmp_path, emitted)


@pytest.mark.slow
def test_a_transformer_encoder_is_integer_but_for_norms_and_attention(
    quantized: State, check_outputs: Checks, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    with pytest.raises(InputError, match="no int8 kernel for layer_norm"):
        quantized(Encoder())
    state = quantized(Encoder(), allow_float=True)
    emitted = TfliteEmitter().emit(state, TARGET, tmp_path)
    assert emitted.coverage.quantized == emitted.coverage.eligible == 6
    norms = {"ADD", "MEAN", "MUL", "RESHAPE", "RSQRT", "SQUARED_DIFFERENCE", "SUB"}
    assert {name for name, _ in emitted.coverage.float_operators} - norms == {"BATCH_MATMUL", "SLICE", "TRANSPOSE"}
    check_outputs(state, tmp_path, emitted)


def test_the_same_state_gives_the_same_bytes(networks: ModuleType, quantized: State, tmp_path: Path) -> None:
    state = quantized(networks.random(networks.Plain))
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        TfliteEmitter().emit(state, TARGET, tmp_path / name)
        contents.append((tmp_path / name / MODEL).read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.slow
@pytest.mark.parametrize("quantize", [{"precision": "float16"}, {"mode": "weight-only"}, {"mode": "dynamic"}], ids=str)
def test_artifacts_with_stored_weights_compute_what_was_simulated(
    quantize: dict[str, str],
    networks: ModuleType,
    integer_kernels: ModuleType,
    make_recipe: Callable[..., Recipe],
    make_context: Any,
    tmp_path: Path,
) -> None:
    """In both interpreters; a step is what eight bits of the output would have."""
    kinds = (networks.Residual, networks.DepthwiseSeparable, networks.Attention)
    together = Together(*(networks.random(kind, seed) for seed, kind in enumerate(kinds)))
    state = ModelState((InputSpec("image", (1, *SHAPE)),), together.eval())
    recipe = make_recipe(compress={"quantize": quantize})
    steps = [step.for_target(TARGET, recipe) for step in (QuantizeWeights, ConvertToFloat16)]
    for step in (Export(), FoldBatchnorm(), *filter(None, steps)):
        state = manager.run(step, state, make_context())
    emitted = TfliteEmitter().emit(state, TARGET, tmp_path)
    samples = images(64, 5)
    wanted = integer_kernels.computed(state.callable_module(), samples)
    for device in filter(None, (LocalDevice(), tflite_runtime.find(devices_folder()))):
        for one, other in zip(wanted, ran(device, tmp_path, emitted, samples), strict=True):
            assert parity(one, other, float(abs(one).max()) / 255).within_one_step >= TfliteEmitter.within_one


def test_floats_go_in_and_out_where_the_recipe_wants_them(
    networks: ModuleType, quantized: State, check_outputs: Checks, tmp_path: Path
) -> None:
    state = quantized(networks.random(networks.Plain), float_interface=True)
    emitted = TfliteEmitter().emit(state, TARGET, tmp_path)
    assert [port.dtype for port in (*emitted.ports.inputs, *emitted.ports.outputs)] == ["float32"] * 2
    assert emitted.coverage.quantized == emitted.coverage.eligible > 0
    assert (emitted.coverage.float_operators, emitted.coverage.conversions) == ((), 2)
    check_outputs(state, tmp_path, emitted)


def test_an_operator_without_an_int8_kernel_is_named_before_anything_is_converted(quantized: State) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Softplus(), nn.Flatten(), nn.Linear(8 * 14 * 14, 10))
    with pytest.raises(InputError, match=r"allow_float: true, got 1: no int8 kernel for softplus"):
        quantized(network)


def test_an_open_batch_is_refused_with_what_to_write() -> None:
    (refusal,) = TfliteEmitter().refusals({"image": None, "tokens": 1})
    assert refusal.startswith("model.inputs.image.shape: expected a fixed batch, as [1, ...]")
    state = ModelState((InputSpec("image", (None, 3, 8, 8)),), nn.Identity())
    with pytest.raises(StepError, match="needs 'exported'"):
        TfliteEmitter().emit(state, TARGET, Path())


def test_a_built_artifact_says_how_it_takes_its_input(built_tflite: Path) -> None:
    document = json.loads((built_tflite / "manifest.json").read_text())
    (given,), (handed,) = document["inputs"], document["outputs"]
    assert (given["shape"], given["artifact_dtype"], given["channels_last"]) == ([1, 1, 8, 8], "int8", True)
    assert handed["artifact_dtype"] == "int8"
    assert handed["scale"] == pytest.approx(handed["step"])
    assert document["results"]["int8_coverage"] == {"quantized": 3, "eligible": 3}


def test_a_built_artifact_says_what_it_is_for(built_tflite: Path) -> None:
    """In its file, where Android's libraries look for it, and in its manifest."""
    with zipfile.ZipFile(built_tflite / MODEL) as archive:
        assert archive.read("labels.txt").decode().split() == ["north", "east", "south", "west"]
    assert "TFLITE_METADATA" in [text(entry.name) for entry in read(built_tflite / MODEL).metadata]
    document = json.loads((built_tflite / "manifest.json").read_text())
    (given,), (handed,) = document["inputs"], document["outputs"]
    assert (document["about"], given["mean"], given["std"]) == ({"name": "small"}, [2.0], [4.0])
    assert handed["labels"] == ["north", "east", "south", "west"]


def test_labels_that_are_too_few_are_refused(networks: ModuleType, quantized: State, tmp_path: Path) -> None:
    notes = ModelNotes(outputs=(TensorNotes(labels=("one", "two")),))
    with pytest.raises(InputError, match="labels: expected 10, one for each value, got 2"):
        TfliteEmitter().emit(quantized(networks.random(networks.Plain)), TARGET, tmp_path, notes)
