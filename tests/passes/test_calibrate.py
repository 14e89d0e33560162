"""calibrate: ranges by every method, what is refused, and what is warned about with numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from edgewright.ir.errors import InputError
from edgewright.ir.facts import RANGES_CALIBRATED
from edgewright.ir.state import InputSpec, ModelState
from edgewright.passes.calibrate import Calibrate
from edgewright.passes.contract import Context
from edgewright.passes.export import Export
from edgewright.passes.fold_batchnorm import FoldBatchnorm
from edgewright.passes.text import from_text, to_text
from edgewright.recipe.schema import Recipe
from edgewright.targets import Target, load_target
from torch import Tensor, nn

METHODS = ["min-max", "moving-average", "percentile", "entropy", "mse"]
SHAPE = (3, 8, 8)


class Network(nn.Module):
    """Two tensors in int8: the image, and what the first layer makes of it; an output whose range is only observed.

    With `batch`, its code takes batches of that size alone.
    """

    def __init__(self, batch: int = -1) -> None:
        super().__init__()
        self.batch = batch
        self.first, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8 * 64, 10)

    def inner(self, x: Tensor) -> Tensor:
        return self.first(x).relu()

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.inner(x).reshape(self.batch, 512))
        return outputs


class Logarithm(nn.Module):
    """Finite for images above -9, and for others not."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 4, 1), nn.Linear(4 * 64, 10)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.first((x + 9).log()).flatten(1))
        return outputs


Samples = tuple[Tensor, Tensor]


def samples(count: int, classes: int = 10) -> Samples:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, *SHAPE, generator=generator), torch.arange(count) % classes


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return Network().eval()


@pytest.fixture
def calibrate(target: Target, make_recipe: Callable[..., Recipe]) -> Callable[..., Calibrate]:
    """calibrate(method=..., samples=..., keep_float=...): the pass as x86 gets it."""

    def make(keep_float: tuple[str, ...] = (), **options: Any) -> Calibrate:
        quantize = {"calibration": options, "keep_float": keep_float}
        step = Calibrate.for_target(target, make_recipe(compress={"quantize": quantize}))
        assert step is not None
        return step

    return make


@pytest.fixture
def calibrated(
    carry_out: Callable[..., ModelState], make_context: Callable[..., Context]
) -> Callable[..., dict[str, list[float]]]:
    """calibrated(step, module, samples, batch=None): the ranges, in the order of the graph."""

    def run(
        step: Calibrate, module: nn.Module, given: Samples, batch: int | None = None, task: str = "classification"
    ) -> dict[str, list[float]]:
        specs = (InputSpec("image", (batch, *SHAPE)),)
        context = make_context(task, calibration=given)
        before = carry_out(module, Export(), FoldBatchnorm(), specs=specs)
        after = carry_out(before, step, context=context)
        assert RANGES_CALIBRATED in after.facts
        return dict(after.attachments["ranges"])

    return run


def extremes(values: Tensor) -> list[float]:
    """The least and greatest value, and zero."""
    return [min(float(values.min()), 0.0), max(float(values.max()), 0.0)]


def close(found: dict[str, list[float]], expected: list[list[float]]) -> bool:
    """Whether the ranges agree but for the rounding of batches of different sizes, which `Export` declares."""
    differences = (torch.tensor(list(found.values())) - torch.tensor(expected)).abs().amax(1)
    return bool((differences <= Export.numerics.relative * torch.tensor(expected).abs().amax(1)).all())


def tensors(network: Network, images: Tensor) -> list[Tensor]:
    """The observed tensors in the order of the graph."""
    with torch.no_grad():
        return [images, network.inner(images), network(images)]


def test_min_max_is_the_least_and_the_greatest_value(
    network: Network, calibrate: Any, calibrated: Any, listener: Any
) -> None:
    given = samples(70)
    found = calibrated(calibrate(method="min-max", samples=70), network, given)
    assert close(found, [extremes(values) for values in tensors(network, given[0])])
    assert listener.units == {"calibrate (min-max)": 70}
    assert listener.warnings == []


def test_moving_average_is_the_mean_of_every_samples_extremes(
    network: Network, calibrate: Any, calibrated: Any
) -> None:
    given = samples(70)
    found = calibrated(calibrate(method="moving-average", samples=70), network, given)
    flat = [values.flatten(1) for values in tensors(network, given[0])]
    means = [torch.stack([values.amin(1).mean(), values.amax(1).mean()]) for values in flat]
    assert close(found, [extremes(both) for both in means])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_stays_within_the_extremes_and_holds_zero(
    method: str, network: Network, calibrate: Any, calibrated: Any
) -> None:
    given = samples(64)
    given[0][3] *= 20  # one sample unlike the others
    found = calibrated(calibrate(method=method, samples=64, percentile=99.0), network, given)
    widest = calibrated(calibrate(method="min-max", samples=64), network, given)
    assert list(found) == list(widest)
    for name, (low, high) in found.items():
        assert widest[name][0] <= low <= 0 <= high <= widest[name][1]
        assert low < high
    image = next(iter(found))
    is_narrower = found[image][1] - found[image][0] < widest[image][1] - widest[image][0]
    assert is_narrower == (method != "min-max")


@pytest.mark.parametrize("method", METHODS)
def test_a_fixed_batch_gives_the_ranges_of_an_open_one(
    method: str, network: Network, calibrate: Any, calibrated: Any
) -> None:
    step, given, fixed = calibrate(method=method, samples=64), samples(64), Network(batch=8)
    fixed.load_state_dict(network.state_dict())
    assert close(calibrated(step, fixed, given, 8), list(calibrated(step, network, given).values()))


@pytest.mark.parametrize(("batch", "count"), [(1, 3), (7, 40), (32, 40), (32, 5)])
def test_a_last_batch_that_is_not_whole_is_filled_up(
    batch: int, count: int, network: Network, calibrate: Any, calibrated: Any, listener: Any
) -> None:
    step, given, fixed = calibrate(method="min-max", samples=count), samples(count), Network(batch)
    fixed.load_state_dict(network.state_dict())
    assert close(calibrated(step, fixed, given, batch), list(calibrated(step, network, given).values()))
    assert listener.units == {"calibrate (min-max)": count}


def test_only_the_asked_samples_are_read(network: Network, calibrate: Any, calibrated: Any, listener: Any) -> None:
    given = samples(100)
    found = calibrated(calibrate(method="min-max", samples=64), network, given)
    assert close(found, [extremes(values) for values in tensors(network, given[0][:64])])
    assert listener.units == {"calibrate (min-max)": 64}


def test_what_stays_float_is_not_observed(network: Network, calibrate: Any, calibrated: Any) -> None:
    found = calibrated(calibrate(method="min-max", samples=64, keep_float=("head",)), network, samples(64))
    assert len(found) == 3  # the image, the convolution's output, the network's output
    without_first = calibrated(calibrate(method="min-max", samples=64, keep_float=("first",)), network, samples(64))
    assert not [name for name in without_first if name == next(iter(found))]


def test_how_many_ranges_came_from_what_is_in_the_history(
    network: Network, calibrate: Any, carry_out: Any, make_context: Any
) -> None:
    specs = (InputSpec("image", (None, *SHAPE)),)
    context = make_context(calibration=samples(64))
    state = carry_out(network, Export(), FoldBatchnorm(), calibrate(samples=64), specs=specs, context=context)
    assert state.history[-1].notes == ("3 ranges from 64 samples by mse",)


def test_several_inputs_are_all_observed(calibrate: Any, carry_out: Any, make_context: Any) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(4, 6), nn.Linear(5, 6)

        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return self.left(left) + self.right(right)

    inputs = {"left": torch.randn(64, 4), "right": torch.randn(64, 5) * 3}
    specs = (InputSpec("left", (None, 4)), InputSpec("right", (None, 5)))
    context = make_context("regression", calibration=(inputs, torch.zeros(64)))
    step = calibrate(method="min-max", samples=64)
    ranges = carry_out(Two(), Export(), FoldBatchnorm(), step, specs=specs, context=context).attachments["ranges"]
    assert ranges["left"] == extremes(inputs["left"])
    assert ranges["right"] == extremes(inputs["right"])


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        action()
    return str(caught.value)


@pytest.mark.parametrize("method", ["min-max", "moving-average", "mse"])
def test_a_tensor_without_axes_is_observed(method: str, make_recipe: Any, calibrated: Any) -> None:
    class Total(Network):
        def forward(self, x: Tensor) -> Tensor:
            inner = self.inner(x)
            outputs: Tensor = self.head((inner + inner.sum()).reshape(1, 512))
            return outputs

    torch.manual_seed(0)
    network, given = Total().eval(), samples(16)
    quantize = {"calibration": {"method": method, "samples": 16}}
    step = Calibrate.for_target(load_target("arm64-cortex-a72"), make_recipe(compress={"quantize": quantize}))
    found = calibrated(step, network, given, batch=1)
    with torch.no_grad():
        sums = torch.stack([network.inner(image[None]).sum() for image in given[0]])
    low, high = found["sum_1"]
    assert low == 0
    assert float(sums.min()) < high <= float(sums.max()) * (1 + Export.numerics.relative)


@pytest.mark.parametrize("batch", [None, 3])
def test_a_set_that_says_nothing_is_refused(
    batch: int | None, network: Network, calibrate: Any, calibrated: Any
) -> None:
    image, labels = torch.randn(1, *SHAPE), torch.zeros(1, dtype=torch.int64)
    step = calibrate(method="min-max", samples=64)
    same = (image.expand(70, *SHAPE), torch.arange(70))
    expected = "data: calibration: expected samples that differ, got "
    assert refusal(lambda: calibrated(step, network, same, batch)) == expected + "64 times the same"
    empty = (torch.full((1, *SHAPE), 0.5), labels)
    found = "one sample whose values are all equal"
    assert refusal(lambda: calibrated(step, network, empty, batch)) == expected + found
    assert len(calibrated(step, network, (image, labels), batch)) == 3


def test_an_empty_set_is_refused(network: Network, calibrate: Any, calibrated: Any) -> None:
    class Empty:
        def __len__(self) -> int:
            return 0

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.zeros(SHAPE), 0

    message = refusal(lambda: calibrated(calibrate(), network, Empty()))
    assert message == "data.py:splits: calibration: expected at least one sample, got an empty split"


@pytest.mark.parametrize("place", [0, 50])
def test_a_sample_that_is_not_finite_is_named(place: int, network: Network, calibrate: Any, calibrated: Any) -> None:
    images, labels = samples(64)
    images[place, 1, 2, 3] = float("inf")
    message = refusal(lambda: calibrated(calibrate(samples=64), network, (images, labels)))
    assert f"calibration[{place}]: expected finite numbers in image, got NaN or infinity" in message


def test_a_sample_of_another_shape_is_named(network: Network, calibrate: Any, calibrated: Any) -> None:
    class Uneven:
        def __len__(self) -> int:
            return 64

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.randn(3, 8, 8 if index != 40 else 9), index % 10

    message = refusal(lambda: calibrated(calibrate(samples=64), network, Uneven()))
    assert (
        "calibration[40]: expected image as float32 (3, 8, 8), without the batch axis, got float32 (3, 8, 9)" in message
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_that_is_not_finite_is_named(method: str, calibrate: Any, calibrated: Any) -> None:
    images, labels = samples(64)
    images[50, 0, 0, 0] = -10.0
    message = refusal(lambda: calibrated(calibrate(method=method, samples=64), Logarithm(), (images, labels)))
    assert message == "calibration: tensor log: expected finite values, got nan to nan"


def test_few_samples_are_warned_about(network: Network, calibrate: Any, calibrated: Any, listener: Any) -> None:
    calibrated(calibrate(method="min-max", samples=256), network, samples(20))
    assert listener.warnings == [
        "calibration: 256 samples asked for, but the split holds 20",
        "calibration: 20 samples are few; ranges settle with 64 and more",
    ]


def test_ranges_that_still_grow_are_warned_about(
    network: Network, calibrate: Any, calibrated: Any, listener: Any
) -> None:
    images, labels = samples(128)
    image = tensors(network, images)[0]
    images[120] *= 3
    before, after = extremes(image[:96]), extremes(images)
    growth = (after[1] - after[0]) / (before[1] - before[0]) - 1
    calibrated(calibrate(method="min-max", samples=128), network, (images, labels))
    (warning,) = listener.warnings
    assert warning.startswith("calibration: ranges still grew over the last quarter of 128 samples: ")
    assert f"x by {growth:.0%}" in warning


@pytest.mark.parametrize(("classes", "is_warned"), [(10, False), (5, False), (4, True), (1, True)])
def test_missing_classes_are_warned_about(
    classes: int, is_warned: bool, network: Network, calibrate: Any, calibrated: Any, listener: Any
) -> None:
    calibrated(calibrate(method="min-max", samples=64), network, samples(64, classes))
    expected = [f"calibration: the samples cover {classes} of 10 classes"] if is_warned else []
    assert listener.warnings == expected


def test_classes_are_counted_where_labels_are_classes(
    network: Network, calibrate: Any, calibrated: Any, listener: Any
) -> None:
    images, _ = samples(64)
    calibrated(calibrate(method="min-max", samples=64), network, (images, torch.zeros(64, 10)), task="multilabel")
    calibrated(calibrate(method="min-max", samples=64), network, (images, torch.zeros(64)), task="regression")
    assert listener.warnings == []


def test_the_pass_is_what_target_and_recipe_say(target: Target, make_recipe: Any, calibrate: Any) -> None:
    step = calibrate(method="percentile", samples=99, percentile=99.0, keep_float=("head",))
    int8 = target.quantization.int8_static
    assert (step.method, step.samples, step.percentile, step.keep_float) == ("percentile", 99, 99.0, ("head",))
    assert step.symmetric == int8.symmetric_activations
    assert step.rules.kernels == int8.kernels
    assert from_text(to_text(step), (Calibrate,)) == step
    assert Calibrate.for_target(target, make_recipe()) is None
    without = target.model_copy(update={"quantization": target.quantization.model_copy(update={"int8_static": None})})
    assert Calibrate.for_target(without, make_recipe(compress={"quantize": {}})) is None
