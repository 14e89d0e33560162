"""share-weights: few values for each layer, which training, rounding to integers and storing leave together."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from edgewright.ir.errors import InputError
from edgewright.ir.facts import ELEMENTS_PRUNED, QUANTIZED, RECOVERED, WEIGHTS_SHARED
from edgewright.ir.sharing import shared_counts, shared_weights
from edgewright.ir.state import InputSpec, ModelState, load, save
from edgewright.ir.zeros import pruned_weights
from edgewright.passes.calibrate import Calibrate
from edgewright.passes.export import Export
from edgewright.passes.fold_batchnorm import FoldBatchnorm
from edgewright.passes.insert_quantization import InsertQuantization
from edgewright.passes.prune_elements import PruneElements
from edgewright.passes.quantize_weights import QuantizeWeights
from edgewright.passes.share_weights import ShareWeights, stored_bytes
from edgewright.passes.text import from_text, to_text
from edgewright.passes.train_quantized import TrainQuantized
from edgewright.pipeline.planning import plan
from edgewright.recipe.schema import Recipe
from edgewright.runtimes.tflite import TfliteEmitter
from edgewright.targets import load_target
from edgewright.training.schedule import TrainingOptions
from torch import Tensor, nn

Samples = tuple[Tensor, Tensor]
ON_GRAPHS = (Export(), FoldBatchnorm())


def samples(count: int = 96) -> Samples:
    """Images of four classes, one for each quarter that may be bright."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (count,), generator=generator)
    images = torch.randn(count, 3, 16, 16, generator=generator)
    for image, label in zip(images, labels, strict=True):
        image[:, 8 * (label // 2) :, 8 * (label % 2) :][:, :8, :8] += 2
    return images, labels


def sharing(clusters: int = 16, **options: Any) -> ShareWeights:
    return ShareWeights(**{"clusters": clusters, "clusters_linear": clusters, **options})


def short(**options: Any) -> TrainingOptions:
    return TrainingOptions(**{"epochs": 4.0, "learning_rate": 3e-3, "batch_size": 16, **options})


def losses(state: ModelState) -> tuple[float, float]:
    words = next(note for note in state.history[-1].notes if "before" in note).split()
    return float(words[words.index("before,") - 1]), float(words[words.index("after") - 1])


def test_every_layer_takes_the_values_that_k_means_finds(
    networks: ModuleType, carry_out: Callable[..., ModelState]
) -> None:
    before = carry_out(networks.random(networks.Residual), *ON_GRAPHS)
    state = carry_out(before, sharing(16))
    assert WEIGHTS_SHARED in state.facts
    old = before.exported_program().state_dict
    found = shared_weights(state)
    assert len(found) == 7
    for name, weight in found.items():
        values = weight.unique()
        assert shared_counts(state)[name] == len(values) <= 16
        for value in values.tolist():  # a fixed point of Lloyd's rounds
            own = old[name].detach().double()[weight == value]
            assert value == pytest.approx(float(own.mean()), rel=torch.finfo(torch.float32).eps)
    biases = [name for name in old if name.endswith("bias")]
    assert all(torch.equal(old[name], state.exported_program().state_dict[name]) for name in biases)


def test_linear_layers_may_have_other_clusters_and_layers_may_be_kept(
    networks: ModuleType, carry_out: Callable[..., ModelState]
) -> None:
    step = sharing(32, clusters_linear=4, keep=("first",))
    state = carry_out(networks.random(networks.Flattened), *ON_GRAPHS, step)
    assert {name.partition(".")[0]: len(weight.unique()) for name, weight in shared_weights(state).items()} == {
        "hidden": 4, "head": 4,
    }  # fmt: skip
    assert "first.0 stays as it is: the recipe keeps it as it is" in state.history[-1].notes


def test_layers_that_would_not_become_smaller_stay_and_are_named(carry_out: Callable[..., ModelState]) -> None:
    module = nn.Sequential(nn.Linear(8, 64), nn.Linear(64, 2))
    state = carry_out(module, *ON_GRAPHS, sharing(120), specs=(InputSpec("x", (None, 8)),))
    assert set(shared_counts(state)) == {"0.weight"}
    why = "its 128 weights are no larger than an index and 120 values"
    assert state.history[-1].notes[0] == f"1 stays as it is: {why}"


def test_a_codebook_larger_than_every_layer_is_refused(
    networks: ModuleType, carry_out: Callable[..., ModelState]
) -> None:
    message = (
        r"compress\.share_weights\.clusters: expected a codebook smaller than a layer, of which the largest has 9,216"
        r" weights, got 65,536 values \(65,536 in linear layers\)"
    )
    with pytest.raises(InputError, match=message):
        carry_out(networks.random(networks.Residual), *ON_GRAPHS, sharing(65536))
    with pytest.raises(InputError, match=r"compress\.share_weights\.keep: expected names of modules of the network"):
        carry_out(networks.random(networks.Residual), *ON_GRAPHS, sharing(keep=("firts",)))


@pytest.mark.parametrize("options", [{}, {"optimizer": "sgd", "learning_rate": 0.01}, {"average": 0.9}])
def test_training_moves_values_together_and_betters_the_network(
    options: dict[str, Any], networks: ModuleType, carry_out: Callable[..., ModelState], make_context: Any
) -> None:
    context = make_context(train=samples())
    start = carry_out(networks.random(networks.Residual), *ON_GRAPHS)
    plain = carry_out(start, sharing(8))
    state = carry_out(start, sharing(8, training=short(**options)), context=context)
    before, after = losses(state)
    assert after < before
    first, second = shared_weights(plain), shared_weights(state)
    for name, weight in second.items():
        assert not torch.equal(weight, first[name])
        for value in first[name].unique():
            assert len(weight[first[name] == value].unique()) == 1


def test_the_network_from_before_may_teach(
    networks: ModuleType, carry_out: Callable[..., ModelState], make_context: Any
) -> None:
    step = sharing(8, training=short(epochs=1.0), temperature=4.0, alpha=1.0)
    state = carry_out(networks.random(networks.Plain), *ON_GRAPHS, step, context=make_context(train=samples()))
    before, after = losses(state)
    assert after < before


@pytest.mark.parametrize("method", ["logarithmic", "piecewise-linear"])
def test_values_on_a_grid_of_their_own_stay_there_while_biases_learn(
    method: Any, networks: ModuleType, carry_out: Callable[..., ModelState], make_context: Any
) -> None:
    context = make_context(train=samples(), calibration=samples())
    start = carry_out(networks.random(networks.Residual), *ON_GRAPHS)
    plain = carry_out(start, sharing(15, method=method))
    state = carry_out(start, sharing(15, method=method, training=short()), context=context)
    assert losses(state)[1] < losses(state)[0]
    old, new = plain.exported_program().state_dict, state.exported_program().state_dict
    assert all(torch.equal(weight, old[name]) for name, weight in shared_weights(state).items())
    assert any(not torch.equal(new[name], old[name]) for name in new if name.endswith("bias"))


def test_a_hash_is_trained_from_means(
    networks: ModuleType, carry_out: Callable[..., ModelState], make_context: Any
) -> None:
    step = sharing(64, method="hash", training=short(learning_rate=1e-2))
    state = carry_out(networks.random(networks.Plain), *ON_GRAPHS, step, context=make_context(train=samples()))
    assert losses(state)[1] < losses(state)[0]
    total = next(note for note in state.history[-1].notes if "layers share weights" in note)
    kib = sum(4 * count for count in shared_counts(state).values()) / 1024
    assert f"are {kib:.1f} KiB entropy coded" in total


def test_pruned_weights_stay_zero(
    networks: ModuleType, carry_out: Callable[..., ModelState], make_context: Any
) -> None:
    pruned = carry_out(networks.random(networks.Residual), PruneElements(weights=0.7))
    step = sharing(8, training=short(weight_decay=0.1))
    state = carry_out(pruned, *ON_GRAPHS, step, context=make_context(train=samples()))
    assert {ELEMENTS_PRUNED, WEIGHTS_SHARED} <= state.facts
    before = pruned_weights(pruned)
    for name, weight in pruned_weights(state).items():
        assert torch.equal(weight == 0, before[name] == 0)
        assert len(weight.unique()) <= 8


@pytest.mark.parametrize(("target", "mode"), [("x86-avx512-vnni", "static"), ("x86-avx2", "static"),
    ("arm64-cortex-a72", "static"), ("x86-avx512-vnni", "qat"), ("arm64-cortex-a72", "dynamic")])  # fmt: skip
def test_a_value_is_one_integer_also_where_channels_have_scales(
    target: str, mode: str, networks: ModuleType, carry_out: Callable[..., ModelState], make_context: Any,
    make_recipe: Callable[..., Recipe], tmp_path: Path,
) -> None:  # fmt: skip
    train = {"train": {"epochs": 1, "batch_size": 16}} if mode == "qat" else {}
    recipe = make_recipe(compress={"quantize": {"mode": mode, "calibration": {"samples": 64}, **train}})
    kinds: list[Any] = [Calibrate, TrainQuantized, InsertQuantization, QuantizeWeights]
    quantize = [step for kind in kinds if (step := kind.for_target(load_target(target), recipe)) is not None]
    context = make_context(train=samples(), calibration=samples())
    shared = carry_out(networks.random(networks.Residual), *ON_GRAPHS, sharing(16))
    state = carry_out(shared, *quantize, context=context)
    assert {WEIGHTS_SHARED, QUANTIZED} <= state.facts
    floats, integers = shared_weights(shared), shared_weights(state)
    assert floats.keys() == integers.keys()
    for name, weight in integers.items():
        assert weight.dtype == torch.int8
        for value in floats[name].unique():
            assert len(weight[floats[name] == value].unique()) == 1
    (tmp_path / "state").mkdir()
    save(state, tmp_path / "state")
    assert WEIGHTS_SHARED in load(tmp_path / "state", lambda: networks.Residual()).facts


def test_quantized_training_leaves_powers_of_two_alone(
    networks: ModuleType, carry_out: Callable[..., ModelState], make_context: Any, make_recipe: Callable[..., Recipe]
) -> None:
    recipe = make_recipe(compress={"quantize": {"mode": "qat", "train": {"epochs": 1, "batch_size": 16}}})
    target = load_target("x86-avx2")
    kinds: list[Any] = [Calibrate, TrainQuantized]
    quantize = [kind.for_target(target, recipe) for kind in kinds]
    context = make_context(train=samples(), calibration=samples())
    shared = carry_out(networks.random(networks.Plain), *ON_GRAPHS, sharing(15, method="logarithmic"))
    state = carry_out(shared, *quantize, context=context)
    before = shared_weights(shared)
    assert all(torch.equal(weight, before[name]) for name, weight in shared_weights(state).items())


def test_what_is_saved_is_said(carry_out: Callable[..., ModelState]) -> None:
    """Of 64 weights half are 1, a quarter 2 and the rest 3 and 4: 1.75 bits each, four values and four lengths."""
    module = nn.Sequential(nn.Linear(8, 8))
    with torch.no_grad():
        values = torch.tensor([1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 3.0, 4.0])
        module.get_parameter("0.weight").copy_(values.expand(8, 8))
    state = carry_out(module, *ON_GRAPHS, sharing(4), specs=(InputSpec("x", (None, 8)),))
    coded = 64 * 1.75 / 8 + 4 * 4 + 4
    sizes = f"0.2 KiB of floats are {coded / 1024:.1f} KiB entropy coded ({256 / coded:.1f}x smaller)"
    assert state.history[-1].notes == (f"1 layers share weights: {sizes}", f"0: 64 weights of 4 values: {sizes}")


def test_a_tflite_file_is_as_large_and_compresses_to_less(
    networks: ModuleType, carry_out: Callable[..., ModelState], tmp_path: Path
) -> None:
    pytest.importorskip("litert_torch", reason="TFLite files are written by the extra [tflite]")
    specs = (InputSpec("image", (1, 3, 16, 16)),)
    plain = carry_out(networks.random(networks.Residual), *ON_GRAPHS, specs=specs)
    sizes = []
    for number, state in enumerate((plain, carry_out(plain, sharing(16)))):
        (tmp_path / str(number)).mkdir()
        made = TfliteEmitter().emit(state, load_target("arm64-cortex-a72"), tmp_path / str(number))
        sizes.append((made.total_bytes, len(zlib.compress((tmp_path / str(number) / made.main).read_bytes()))))
    assert sizes[0][0] == pytest.approx(sizes[1][0], rel=0.01)
    assert sizes[1][1] < sizes[0][1] / 3


def test_an_index_takes_half_a_byte_one_or_two() -> None:
    assert [stored_bytes(100, clusters) for clusters in (16, 17, 256, 257)] == [114, 168, 1124, 1228]


@pytest.mark.parametrize(
    "step",
    [
        sharing(64),
        sharing(4, method="hash", keep=("a.0",), training=TrainingOptions(2.0), temperature=4.0, alpha=0.7),
    ],
)
def test_the_text_form_round_trips(step: ShareWeights) -> None:
    assert from_text(to_text(step), (ShareWeights,)) == step
    assert step.reads == ({"train"} if step.training else set())


@pytest.mark.parametrize("target", ["x86-avx512-vnni", "arm64-cortex-a72", "nvidia-rtx-ada"])
def test_the_order_is_that_of_the_paper(target: str, make_recipe: Callable[..., Recipe]) -> None:
    """Pruned, trained, shared and trained again; and integers only then."""
    compress = {
        "prune": {"granularity": "element", "weights": 0.5}, "recover": {}, "quantize": {},
        "share_weights": {"clusters": 32, "clusters_linear": 16, "train": {"epochs": 3}},
    }  # fmt: skip
    found = plan(make_recipe(compress=compress), load_target(target))
    names = [each.step.name for each in found.steps]
    order = [
        "prune-elements", "recover", "export", "fold-batchnorm", "share-weights", "calibrate", "insert-quantization",
    ]  # fmt: skip
    assert names == order
    assert WEIGHTS_SHARED in found.goal
    assert RECOVERED in found.goal
    step = found.steps[4].step
    assert step == ShareWeights(clusters=32, clusters_linear=16, training=TrainingOptions(3.0))


def test_every_target_says_what_its_file_is_like(make_recipe: Callable[..., Recipe]) -> None:
    said = {}
    for name in ("x86-avx2", "arm64-cortex-a72"):
        target = load_target(name)
        step = ShareWeights.for_target(target, make_recipe(compress={"share_weights": {"clusters": 64}}))
        assert step == sharing(64)
        said[name] = step.remark(target)
        assert "not faster" in said[name]
        assert "compress.share_weights.train would better the values" in said[name]
        assert "train" not in sharing(64, training=short()).remark(target)
    assert "onnxruntime decodes indices and codebooks when it loads" in said["x86-avx2"]
    assert "tflite has no codebooks" in said["arm64-cortex-a72"]
    assert ShareWeights.for_target(load_target("x86-avx2"), make_recipe(compress={})) is None
