"""train-quantized: what was trained is what is inserted, to the bit, and the rounded network is better for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from edgewright.ir.errors import InputError
from edgewright.ir.facts import EXPORTED, QUANTIZATION_TRAINED, RANGES_CALIBRATED, RECOVERED, SPARSE_2_4
from edgewright.ir.graph import editable, operator, tensor_of
from edgewright.ir.state import InputSpec, ModelState, load, save
from edgewright.passes import ALL, manager
from edgewright.passes.calibrate import Calibrate
from edgewright.passes.contract import Pass
from edgewright.passes.export import Export
from edgewright.passes.fold_batchnorm import FoldBatchnorm
from edgewright.passes.insert_quantization import InsertQuantization
from edgewright.passes.text import from_text, to_text
from edgewright.passes.train_quantized import TrainQuantized
from edgewright.pipeline.planning import plan
from edgewright.recipe.schema import Recipe
from edgewright.targets import Quantization, Target, builtin_names, load_target
from torch import Tensor, nn

SHAPE = (3, 16, 16)
Samples = tuple[Tensor, Tensor]
TRAIN = {"epochs": 2, "learning_rate": 1e-3, "batch_size": 32}
CASES = [
    ("x86-avx2", "Residual"),
    ("x86-avx2", "Attention"),
    ("arm64-cortex-a72", "Dense"),
    ("arm64-cortex-a72", "Attention"),
]
"""uint8 activations, and int8 ones with scales that operators share (concatenation) or fix (softmax)."""


def samples(count: int, seed: int = 0) -> Samples:
    """Noisy images of ten patterns, and which pattern it was."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 10, (count,), generator=generator)
    patterns = torch.randn(10, *SHAPE, generator=torch.Generator().manual_seed(7))
    return patterns[labels] * 0.5 + torch.randn(count, *SHAPE, generator=generator), labels


def varied(target: Target, **int8: Any) -> Target:
    """The target with the profile's keys for static int8 changed so."""
    assert target.quantization.int8_static is not None
    changed = target.quantization.int8_static.model_copy(update=int8)
    return target.model_copy(update={"quantization": target.quantization.model_copy(update={"int8_static": changed})})


def trained_network(networks: ModuleType, kind: str) -> nn.Module:
    """A network of that kind after some steps, good enough to lose something."""
    network: nn.Module = networks.random(getattr(networks, kind)).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.3  # statistics that are good after so few steps
    optimizer, (images, labels) = torch.optim.Adam(network.parameters(), 3e-3), samples(512)
    for start in 4 * tuple(range(0, 512, 64)):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images[start : start + 64]), labels[start : start + 64]).backward()
        optimizer.step()
    return network.eval()


@torch.no_grad()
def loss(network: nn.Module) -> float:
    """On samples that nothing has seen."""
    images, labels = samples(1000, seed=5)
    return float(nn.functional.cross_entropy(network(images), labels))


@pytest.fixture
def steps(make_recipe: Callable[..., Recipe]) -> Callable[..., list[Pass]]:
    """steps(target, train={}, **quantize): the passes of a plan with mode qat, in their order."""

    def make(target: Target, train: dict[str, Any], **quantize: Any) -> list[Pass]:
        asked = {"mode": "qat", "allow_float": True, "train": {**TRAIN, **train}, **quantize}
        found = plan(make_recipe(compress={"quantize": asked}), target)
        return [step.step for step in found.steps]

    return make


@pytest.fixture
def context(make_context: Callable[..., Any]) -> Any:
    return make_context(train=samples(320), calibration=samples(64, seed=2))


def until_trained(
    carry_out: Callable[..., ModelState], network: nn.Module, steps: list[Pass], context: Any, batch: int | None = None
) -> ModelState:
    """The state that train-quantized is given."""
    specs = (InputSpec("image", (batch, *SHAPE)),)
    before = [step for step in steps if step.name not in ("train-quantized", "insert-quantization")]
    return carry_out(network, *before, specs=specs, context=context)


def scales_of_weights(state: ModelState) -> dict[str, list[float]]:
    """The scales that the inserted nodes have, by layer."""
    module = editable(state.exported_program())
    layers = [node for node in module.graph.nodes if operator(node) in ("conv2d", "linear")]
    return {node.name: tensor_of(module, node.args[1].args[1]).tolist() for node in layers}


@pytest.mark.parametrize("method", ["lsq", "moving-average"])
@pytest.mark.parametrize(("profile", "kind"), CASES)
def test_what_was_trained_is_what_is_inserted(
    profile: str, kind: str, method: str, networks: ModuleType, steps: Any, carry_out: Any, context: Any
) -> None:
    """Both networks give the same bits, and every scale and zero point is the one that was trained."""
    found = steps(load_target(profile), {"method": method})
    training, insert = found[-2:]
    state = until_trained(carry_out, trained_network(networks, kind), found, context)
    after = manager.run(training, state, context)
    trained, _ = training.trained(state, context)  # goes on from the checkpoints, which are those of a whole run
    inserted = manager.run(insert, after, context)
    assert {QUANTIZATION_TRAINED, RANGES_CALIBRATED} <= inserted.facts
    given = samples(64, seed=9)[0]
    with torch.no_grad():
        assert torch.equal(trained.network(given), inserted.callable_module()(given))
    scales = inserted.attachments["quantization"]["scales"]
    learned = {name: module.grid() for name, module in trained.ranges.items()}
    grids = [learned[name] for name in scales if name in learned]
    assert [scales[name] for name in scales if name in learned] == [[grid.scale, grid.zero_point] for grid in grids]
    assert len({tuple(pair) for pair in scales.values()} - {(grid.scale, grid.zero_point) for grid in grids}) == 0
    by_weight = sorted(after.attachments["weight_scales"].values())
    assert sorted(scales_of_weights(inserted).values()) == by_weight
    assert any(after.attachments["ranges"][name] != state.attachments["ranges"][name] for name in trained.ranges)


@pytest.mark.parametrize("method", ["lsq", "moving-average"])
def test_two_processes_that_take_a_step_in_parts_train_what_is_inserted(
    method: str, networks: ModuleType, steps: Any, carry_out: Any, context: Any
) -> None:
    found = steps(load_target("x86-avx2"), {"method": method, "processes": 2, "parts": 2})
    training, insert = found[-2:]
    state = until_trained(carry_out, trained_network(networks, "Residual"), found, context)
    before = loss(manager.run(insert, state, context).callable_module())
    after = manager.run(training, state, context)
    trained, result = training.trained(state, context)
    assert result.best_epoch > 0
    inferences = int(trained.network.steps) / result.best_epoch  # of the first process, in each of its epochs
    assert training._freeze_step(context) == pytest.approx(0.8 * 2 * inferences, abs=2)
    inserted = manager.run(insert, after, context).callable_module()
    assert loss(inserted) < before
    given = samples(64, seed=9)[0]
    with torch.no_grad():
        assert torch.equal(trained.network(given), inserted(given))


@pytest.mark.parametrize("method", ["lsq", "moving-average"])
def test_training_wins_back_what_four_bits_for_a_whole_tensor_lose(
    method: str, networks: ModuleType, steps: Any, carry_out: Any, context: Any
) -> None:
    """A feature that is thirty times as large, and then weighed by a thirtieth, leaves two bits to the others."""
    network = trained_network(networks, "Flattened")
    with torch.no_grad():
        network.hidden.weight[0] *= 30
        network.hidden.bias[0] *= 30
        network.head.weight[:, 0] /= 30
    target = varied(load_target("x86-avx2"), weight_bits=4, weight_granularity="per-tensor")
    found = steps(target, {"method": method})
    training, insert = found[-2:]
    state = until_trained(carry_out, network, found, context)
    rounded = loss(manager.run(insert, state, context).callable_module())
    after = manager.run(training, state, context)
    trained = loss(manager.run(insert, after, context).callable_module())
    assert max(loss(network), trained) < rounded
    (note,) = after.history[-1].notes
    assert note.startswith("2 epochs; loss of the rounded network on held-out training samples ")


@pytest.mark.parametrize("method", ["lsq", "moving-average"])
def test_weights_of_one_bit_are_signs_in_the_artifact_and_what_was_trained(
    method: str, networks: ModuleType, steps: Any, carry_out: Any, context: Any
) -> None:
    found = steps(load_target("x86-avx2"), {"method": method}, weights={"bits": 1})
    training, insert = found[-2:]
    state = until_trained(carry_out, trained_network(networks, "Residual"), found, context)
    untrained = loss(manager.run(insert, state, context).callable_module())
    after = manager.run(training, state, context)
    trained, _ = training.trained(state, context)
    inserted = manager.run(insert, after, context)
    module = editable(inserted.exported_program())
    layers = [node for node in module.graph.nodes if operator(node) in ("conv2d", "linear")]
    assert {value for node in layers for value in tensor_of(module, node.args[1].args[0]).unique().tolist()} == {-1, 1}
    given = samples(64, seed=9)[0]
    with torch.no_grad():
        assert torch.equal(trained.network(given), inserted.callable_module()(given))
    assert loss(inserted.callable_module()) < untrained


def test_the_float_network_teaches_where_it_is_asked_to(
    networks: ModuleType, steps: Any, carry_out: Any, context: Any
) -> None:
    """With no labels in the loss the rounded network comes closer to what the float one says."""
    network = trained_network(networks, "Flattened")
    target = varied(load_target("x86-avx2"), weight_bits=4, weight_granularity="per-tensor")
    found = steps(target, {"epochs": 4, "distill": {"alpha": 1.0, "temperature": 1.0}})
    training, insert = found[-2:]
    state = until_trained(carry_out, network, found, context)
    given = samples(500, seed=5)[0]

    @torch.no_grad()
    def distance(state: ModelState) -> float:
        said = manager.run(insert, state, context).callable_module()(given).log_softmax(1)
        return float(nn.functional.kl_div(said, network(given).softmax(1), reduction="batchmean"))

    assert distance(manager.run(training, state, context)) < distance(state)


def test_a_network_whose_batch_is_fixed_is_trained(
    networks: ModuleType, steps: Any, carry_out: Any, context: Any
) -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = networks.random(networks.Plain)

        def forward(self, x: Tensor) -> Tensor:
            outputs: Tensor = self.inner(x).reshape(3, 10)
            return outputs

    found = steps(load_target("x86-avx2"), {"epochs": 1})
    training, insert = found[-2:]
    state = until_trained(carry_out, Fixed(), found, context, batch=3)
    after = manager.run(insert, manager.run(training, state, context), context)
    trained, _ = training.trained(state, context)
    given = samples(7, seed=9)[0]
    with torch.no_grad():
        expected = trained.network(given)
        assert expected.shape == (7, 10)
        assert torch.equal(expected[:3], after.callable_module()(given[:3]))


def test_weights_that_are_zero_stay_zero_and_layers_that_stay_float_learn_too(
    networks: ModuleType, steps: Any, carry_out: Any, context: Any
) -> None:
    network = networks.random(networks.Flattened)
    with torch.no_grad():
        network.hidden.weight[:, ::2] = 0
    found = steps(load_target("x86-avx2"), {"epochs": 1}, keep_float=["head"])
    state = until_trained(carry_out, network, found, context)
    after = manager.run(found[-2], state, context).exported_program().state_dict
    before = state.exported_program().state_dict
    assert not after["hidden.weight"][:, ::2].any()
    assert bool((after["hidden.weight"][:, 1::2] != 0).all())
    assert not torch.equal(after["head.weight"], before["head.weight"])
    assert torch.equal(before["head.weight"], network.head.weight.detach())


def test_a_state_that_was_stored_gives_the_same_artifact(
    networks: ModuleType, steps: Any, carry_out: Any, context: Any, tmp_path: Path
) -> None:
    found = steps(load_target("x86-avx2"), {"epochs": 1})
    training, insert = found[-2:]
    after = manager.run(training, until_trained(carry_out, networks.random(networks.Plain), found, context), context)
    (tmp_path / "stored").mkdir()
    save(after, tmp_path / "stored")
    again = load(tmp_path / "stored", lambda: networks.random(networks.Plain))
    given = samples(16, seed=9)[0]
    first, second = (manager.run(insert, state, context).callable_module()(given) for state in (after, again))
    assert torch.equal(first, second)


def test_the_plan_trains_between_calibration_and_insertion(make_recipe: Callable[..., Recipe]) -> None:
    compress = {"prune": {"flops": 0.5}, "recover": {}, "quantize": {"mode": "qat"}}
    found = plan(make_recipe(compress=compress), load_target("x86-avx2"))
    steps = [step.step for step in found.steps]
    names = ["prune-channels", "recover", "export", "fold-batchnorm", "calibrate"]
    assert [step.name for step in steps] == [*names, "train-quantized", "insert-quantization"]
    assert QUANTIZATION_TRAINED in found.goal
    manager.replay(steps, found.goal)
    assert [from_text(to_text(step), ALL) for step in steps] == steps


def test_two_in_four_zeros_are_made_before_and_kept(make_recipe: Callable[..., Recipe]) -> None:
    """Pruned, 2:4 sparse, recovered, exported, calibrated, trained, quantized."""
    compress = {"prune": {"flops": 0.5}, "sparsify": "2:4", "recover": {}, "quantize": {"mode": "qat"}}
    target = next(load_target(name) for name in builtin_names() if (gpu := load_target(name).gpu) and gpu.sparsity_2_4)
    found = manager.plan(make_recipe(compress=compress), target, ALL, "an emitter", frozenset({EXPORTED}))
    names = [step.step.name for step in found.steps]
    assert names[:3] == ["prune-channels", "sparsify-2-4", "recover"]
    assert names[-3:] == ["calibrate", "train-quantized", "insert-quantization"]
    assert {SPARSE_2_4, RECOVERED, QUANTIZATION_TRAINED} <= found.goal


def test_it_is_left_out_where_it_is_not_asked_for_or_nothing_is_static(
    make_recipe: Callable[..., Recipe], target: Target
) -> None:
    bare = target.model_copy(update={"quantization": Quantization()})
    assert TrainQuantized.for_target(target, make_recipe(compress={"quantize": {}})) is None
    assert TrainQuantized.for_target(target, make_recipe()) is None
    assert TrainQuantized.for_target(bare, make_recipe(compress={"quantize": {"mode": "qat"}})) is None
    (skip,) = plan(make_recipe(compress={"quantize": {"mode": "qat"}}), bare).skips
    assert skip.what == "static int8 quantization"


def test_a_target_with_eight_bits_and_one_with_seven_train_for_their_own(
    make_recipe: Callable[..., Recipe],
) -> None:
    asked = make_recipe(compress={"quantize": {"mode": "qat"}})
    for name in ("x86-avx2", "x86-avx512-vnni"):
        step = TrainQuantized.for_target(load_target(name), asked)
        assert isinstance(step, TrainQuantized)
        assert step.quantization == InsertQuantization.for_target(load_target(name), asked)


def test_a_rate_that_ruins_the_network_leaves_what_calibration_gave_and_says_so(
    networks: ModuleType, carry_out: Any, steps: Any, context: Any, listener: Any
) -> None:
    found = steps(load_target("x86-avx2"), {"epochs": 1, "learning_rate": 3.0})
    state = until_trained(carry_out, trained_network(networks, "Plain"), found, context)
    training = replace(found[-2], warmup=0.0)
    after = manager.run(training, state, context)
    given = samples(16, seed=9)[0]
    outputs = [manager.run(found[-1], entry, context).callable_module()(given) for entry in (state, after)]
    assert torch.equal(*outputs)
    assert any("a lower learning rate may" in warning for warning in listener.warnings)


def test_too_few_samples_and_a_module_that_is_not_there_are_refused(
    networks: ModuleType, carry_out: Any, steps: Any, make_context: Any
) -> None:
    few = make_context(train=samples(5), calibration=samples(64, seed=2))
    found = steps(load_target("x86-avx2"), {})
    state = carry_out(networks.random(networks.Plain), Export(), FoldBatchnorm(), _calibrate(found), context=few)
    with pytest.raises(InputError, match="at least 10 samples"):
        manager.run(found[-2], state, few)
    wrong = replace(found[-2], quantization=replace(found[-1], keep_float=("secnd",)))
    enough = make_context(train=samples(50))
    with pytest.raises(InputError, match="did you mean second"):
        manager.run(wrong, state, enough)


def _calibrate(steps: list[Pass]) -> Calibrate:
    (step,) = (step for step in steps if isinstance(step, Calibrate))
    return step
