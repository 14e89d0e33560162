"""The program with the kernels' integers: equal, to the bit, to the interpreters whose kernels they are."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from edgewright.devices import tflite_runtime
from edgewright.devices.agent import identity
from edgewright.devices.contract import Device
from edgewright.devices.local import LocalDevice
from edgewright.ir.state import InputSpec, ModelState
from edgewright.passes import manager
from edgewright.passes.calibrate import Calibrate
from edgewright.passes.export import Export
from edgewright.passes.fold_batchnorm import FoldBatchnorm
from edgewright.passes.insert_quantization import InsertQuantization
from edgewright.pipeline.store import devices_folder
from edgewright.quantization.fixed_point import Ties
from edgewright.quantization.integer_graph import Kernels, with_integer_kernels
from edgewright.runtimes import open_runner
from edgewright.runtimes.tflite import MODEL, TfliteEmitter
from edgewright.targets import load_target
from torch import Tensor, nn
from torch.nn import functional

SHAPE = (3, 16, 16)
SAMPLES = 64
TARGET = load_target("arm64-cortex-a72", Path("/"))


class Residual(nn.Module):
    """Convolutions of every kind, with an activation and without, a sum, a mean and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.depthwise = nn.Conv2d(3, 24, 3, 2, 1), nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.grouped, self.last = nn.Conv2d(24, 24, 3, padding=1, groups=4), nn.Conv2d(24, 24, 1)
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        x = functional.relu6(x + self.depthwise(x))
        return self.head((x - self.last(self.grouped(x))).mean((2, 3)))


class Scenes(nn.Module):
    """Pooling, channels weighed by their means, both ways of upsampling, a concatenation, and activations."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 20, 3, padding=1), nn.Conv2d(3, 20, 3, padding=1)
        self.excite, self.third, self.head = nn.Conv2d(20, 20, 1), nn.Conv2d(40, 8, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        left = functional.avg_pool2d(functional.leaky_relu(self.first(x), 0.1), 3, 2, 1)
        right = functional.max_pool2d(functional.hardswish(self.second(x)), 2)
        weights = torch.sigmoid(self.excite(right.mean((2, 3), keepdim=True)))
        x = torch.cat([left, functional.interpolate(functional.avg_pool2d(right * weights, 2), scale_factor=2)], 1)
        x = functional.interpolate(self.third(x), scale_factor=2, mode="bilinear")
        return torch.tanh(self.head(x))


class Attention(nn.Module):
    """Products of activations, a softmax, a mean over rows, and a linear layer of few inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.head = nn.Linear(48, 16), nn.Linear(48, 16, bias=False), nn.Linear(16, 6)
        self.last = nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 1, 3).reshape(x.shape[0], 16, 48)
        weights = torch.softmax(torch.matmul(self.query(rows), self.key(rows).transpose(1, 2)), -1)
        return self.last(self.head(torch.bmm(weights, self.key(rows)).mean(1)))


class Classes(nn.Module):
    """The usual end: a pooling that is flattened, and probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 40, 3), nn.Linear(40, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.adaptive_avg_pool2d(functional.gelu(self.first(x)), 1).flatten(1)
        return torch.softmax(self.head(x), -1)


class Series(nn.Module):
    """A convolution over time, a tensor that is requantized, and numbers in the formula."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(16, 8, 3, padding=1), nn.Conv1d(16, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.mean(1)
        return torch.cat([torch.sigmoid(self.first(x)), torch.relu(self.second(x) * 1.5 + 0.25)], 1)


NETWORKS = [Residual, Scenes, Attention, Classes, Series]
State = Callable[[nn.Module], ModelState]


@pytest.fixture
def quantized(make_recipe: Any, make_context: Any) -> State:
    """quantized(module): the module on int8 grids, as a TFLite file is emitted from it."""

    def run(module: nn.Module) -> ModelState:
        recipe = make_recipe(compress={"quantize": {"calibration": {"samples": SAMPLES}}})
        context = make_context(calibration=(images(SAMPLES, 1), torch.zeros(SAMPLES, dtype=torch.long)))
        state = ModelState((InputSpec("image", (1, *SHAPE)),), module=module.eval())
        for kind in (Export, FoldBatchnorm, Calibrate, InsertQuantization):
            step: Any = kind.for_target(TARGET, recipe) if kind is not FoldBatchnorm else FoldBatchnorm()
            state = manager.run(step, state, context)
        return state

    return run


def images(count: int, seed: int) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def computed(module: nn.Module, samples: Tensor) -> np.ndarray:
    with torch.no_grad():
        return torch.cat([module(sample[None]) for sample in samples]).numpy()


def interpreters() -> dict[Kernels, tuple[Device, dict[str, Any]]]:
    """Where each kind of kernels can run here: a device and the options of its runner."""
    flags = identity.processor(identity.read("/proc/cpuinfo") or "")["flags"]
    if platform.machine() != "x86_64" or "avx2" not in flags:
        return {}
    found: dict[Kernels, tuple[Device, dict[str, Any]]] = {Kernels.NEW_X86: (LocalDevice(), {"xnnpack": False})}
    old = tflite_runtime.find(devices_folder())
    return found | ({Kernels.OLD_X86: (old, {})} if old is not None else {})


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_value_is_the_interpreters(kind: type[nn.Module], quantized: State, tmp_path: Path) -> None:
    if not (places := interpreters()):
        pytest.skip("no interpreter is here whose kernels are known: they are those of x86-64 with AVX2")
    torch.manual_seed(0)
    state, samples = quantized(kind()), images(SAMPLES, 2)
    emitted = TfliteEmitter().emit(state, TARGET, tmp_path)
    differ = {"rounded once": computed(state.callable_module(), samples)}
    for kernels, (device, options) in places.items():
        with open_runner("tflite", device, tmp_path / MODEL, 1, emitted.ports, options) as runner:
            (found,) = runner.run({"image": samples.numpy()})
        wanted = computed(with_integer_kernels(state.exported_program(), kernels), samples)
        assert np.array_equal(found, wanted), f"{kernels.value}: {(found != wanted).mean():.3%} of the values differ"
        assert not np.array_equal(found, differ["rounded once"]), "a network that rounding makes no difference to"


def test_the_program_itself_stays_as_it_is(quantized: State) -> None:
    torch.manual_seed(0)
    state, samples = quantized(Residual()), images(8, 2)
    before = computed(state.callable_module(), samples)
    with_integer_kernels(state.exported_program(), Kernels.OLD_ARM)
    assert np.array_equal(computed(state.callable_module(), samples), before)


def test_each_kind_of_kernels_puts_ties_elsewhere(quantized: State) -> None:
    torch.manual_seed(0)
    program, samples = quantized(Residual()).exported_program(), images(SAMPLES, 2)
    answers = [computed(with_integer_kernels(program, kernels), samples) for kernels in Kernels]
    assert all(not np.array_equal(one, other) for one in answers for other in answers if one is not other)


def test_on_arm_products_with_a_vector_round_as_on_x86() -> None:
    """The shapes are those at which the kernel for a matrix and one vector begins."""
    arm = Kernels.OLD_ARM
    assert arm.product_ties(rows=4, depth=8, columns=1) is Ties.UP
    assert {arm.product_ties(*shape) for shape in ((3, 8, 1), (4, 7, 1), (4, 8, 2))} == {Ties.AWAY}
    assert Kernels.OLD_X86.product_ties(3, 7, 2) is Kernels.NEW_X86.product_ties(3, 7, 2) is Ties.UP
