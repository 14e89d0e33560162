from __future__ import annotations

import re
from itertools import pairwise, product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from edgewright.ir.errors import StepError
from edgewright.runtimes.flatbuffer.arena import ALIGNMENT, LEAST_SHARE, Buffer, arena, plan_bytes, scratch_bytes
from edgewright.runtimes.flatbuffer.file import write
from edgewright.runtimes.flatbuffer.graph import operators
from hypothesis import given
from hypothesis import strategies as st

REAL = ["ic/pretrainedResnet_quant", "ic/pretrainedResnet", "kws/kws_ref_model", "ad/ad01_int8", "ad/ad01_fp32"]


def test_buffers_that_live_one_after_another_share_memory() -> None:
    assert plan_bytes([Buffer(100, 0, 1), Buffer(50, 2, 3)]) == 112
    assert plan_bytes([Buffer(100, 0, 2), Buffer(50, 2, 3)]) == 112 + 64
    assert plan_bytes([]) == 0


def test_a_small_buffer_goes_into_a_gap() -> None:
    """The two large ones live apart in time, the middle one beside both, the small one beside the first only."""
    assert plan_bytes([Buffer(64, 0, 1), Buffer(32, 1, 2), Buffer(48, 2, 3), Buffer(16, 2, 2)]) == 96


buffers = st.lists(
    st.builds(
        lambda size, first, span: Buffer(size, first, first + span),
        *(st.integers(*r) for r in ((1, 500), (0, 9), (0, 4))),
    ),
    max_size=12,
)


@given(buffers)
def test_a_plan_holds_all_that_lives_at_once_and_wastes_no_more_than_all(found: list[Buffer]) -> None:
    sizes = {buffer: -(-buffer.bytes // ALIGNMENT) * ALIGNMENT for buffer in found}
    alive = [sum(sizes[buffer] for buffer in found if buffer.first <= time <= buffer.last) for time in range(14)]
    assert max(alive) <= plan_bytes(found) <= sum(sizes[buffer] for buffer in found)


def _chain(models: ModuleType, shapes: list[tuple[int, ...]]) -> Any:
    values = [models.Value(f"v{place}", shape, "int8", (1.0,), (0,)) for place, shape in enumerate(shapes)]
    steps = [models.Step("RELU", (first.name,), (second.name,)) for first, second in pairwise(values)]
    return models.build(values, steps, [values[0].name], [values[-1].name])


def test_a_value_lives_from_its_maker_to_its_last_reader(tflite_models: ModuleType, tmp_path: Path) -> None:
    model = _chain(tflite_models, [(1, 1000), (1, 100), (1, 600)])
    write(model, tmp_path / "chain.tflite")
    assert arena(tmp_path / "chain.tflite").values_bytes == 1008 + 112  # the last takes the first's place


def test_state_stays_for_good(tflite_models: ModuleType, tmp_path: Path) -> None:
    sizes = []
    for is_variable in (False, True):
        model = _chain(tflite_models, [(1, 160), (1, 320), (1, 16)])
        model.subgraphs[0].tensors[1].isVariable = is_variable
        write(model, tmp_path / "model.tflite")
        sizes.append(arena(tmp_path / "model.tflite"))
    without, with_state = sizes
    assert with_state.persistent_bytes - without.persistent_bytes == 320
    assert with_state.values_bytes == 160  # the last takes the place of the first, which is read by then


def test_preparing_a_small_network_takes_more_than_its_values(tflite_models: ModuleType, tmp_path: Path) -> None:
    write(_chain(tflite_models, [(1, 4)] * 20), tmp_path / "model.tflite")
    found = arena(tmp_path / "model.tflite")
    assert found.bytes == found.preparing_bytes > found.persistent_bytes + found.values_bytes


def _operator(models: ModuleType, name: str, dtype: str, shapes: list[tuple[int, ...]]) -> Any:
    values = [models.Value(f"v{place}", shape, dtype) for place, shape in enumerate(shapes)]
    names = [value.name for value in values]
    step = models.Step(name, tuple(names[:-1]), (names[-1],))
    return operators(models.build(values, [step], names[:1], names[-1:]))[0]


@pytest.mark.parametrize(
    ("name", "dtype", "shapes", "kernels", "expected"),
    [
        ("CONV_2D", "int8", [(1, 8, 8, 3), (4, 3, 3, 3), (1, 8, 8, 4)], "cmsis-nn", (4 * 28,)),
        ("CONV_2D", "int8", [(1, 8, 8, 3), (4, 3, 3, 3), (1, 8, 8, 4)], "reference", ()),
        ("CONV_2D", "float32", [(1, 8, 8, 3), (4, 3, 3, 3), (1, 8, 8, 4)], "cmsis-nn", ()),
        ("DEPTHWISE_CONV_2D", "int8", [(1, 8, 8, 4), (1, 5, 5, 4), (1, 8, 8, 4)], "cmsis-nn", (2 * 4 * 25,)),
        ("DEPTHWISE_CONV_2D", "int8", [(1, 8, 8, 4), (1, 3, 3, 4), (1, 8, 8, 4)], "cmsis-nn", ()),
        ("AVERAGE_POOL_2D", "int8", [(1, 8, 8, 4), (1, 1, 1, 4)], "cmsis-nn", (16,)),
        ("MEAN", "int8", [(1, 8, 8, 4), (2,), (1, 4)], "reference", (16, 16, 8)),
        ("REDUCE_MAX", "int8", [(1, 8, 8, 4), (2,), (1, 4)], "reference", (16, 8)),
        ("TRANSPOSE_CONV", "int8", [(4,), (4, 2, 2, 3), (1, 4, 4, 3), (1, 8, 8, 4)], "reference", (4 * 256,)),
        ("RELU", "int8", [(1, 4), (1, 4)], "cmsis-nn", ()),
    ],
)
def test_scratch_of_kernels(
    name: str, dtype: str, shapes: Any, kernels: Any, expected: tuple[int, ...], tflite_models: ModuleType
) -> None:
    assert scratch_bytes(_operator(tflite_models, name, dtype, shapes), kernels) == expected


def test_a_model_that_runs_another_graph_is_refused(tflite_models: ModuleType, tmp_path: Path) -> None:
    values = [tflite_models.Value(name, (1,)) for name in "ab"]
    write(
        tflite_models.build(values, [tflite_models.Step("WHILE", ("a",), ("b",))], ["a"], ["b"]), tmp_path / "m.tflite"
    )
    with pytest.raises(StepError, match="the arena of a model with WHILE cannot be estimated"):
        arena(tmp_path / "m.tflite")


def _micro() -> Any:
    return pytest.importorskip(
        "tflite_micro.python.tflite_micro.runtime", reason="the package tflite-micro is not here"
    )


def _runs(path: Path, arena_size: int) -> bool:
    """Whether TensorFlow Lite Micro's own interpreter runs the file in an arena of that many bytes."""
    try:
        interpreter = _micro().Interpreter.from_file(str(path), arena_size=arena_size)
    except RuntimeError:
        return False
    details = interpreter.get_input_details(0)
    interpreter.set_input(np.zeros(details["shape"], details["dtype"]), 0)
    interpreter.invoke()
    return True


@pytest.mark.parametrize("name", REAL)
def test_the_estimate_is_enough_for_the_interpreter_and_not_much_too_much(name: str, shared_data: Path) -> None:
    path = shared_data / f"mlperf_tiny/{name}.tflite"
    estimate = arena(path, "reference").bytes
    assert _runs(path, estimate)
    assert not _runs(path, int(LEAST_SHARE * estimate))


@pytest.mark.parametrize("name", REAL)
def test_the_plan_is_the_interpreters_own(name: str, shared_data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = shared_data / f"mlperf_tiny/{name}.tflite"
    found = arena(path, "reference")
    interpreter = _micro().Interpreter.from_file(str(path), arena_size=2 * found.bytes)
    capfd.readouterr()
    interpreter.print_allocations()
    recorded = re.search(r"allocation head (\d+) bytes", "".join(capfd.readouterr()))
    assert recorded is not None
    assert int(recorded[1]) == found.values_bytes


def test_the_estimate_of_a_small_network(tflite_models: ModuleType, tmp_path: Path) -> None:
    write(tflite_models.convolution("int8"), tmp_path / "small.tflite")
    estimate = arena(tmp_path / "small.tflite", "reference").bytes
    assert _runs(tmp_path / "small.tflite", estimate)


@pytest.mark.parametrize(("first", "second"), list(product([1, 17], [16, 40])))
def test_sizes_are_in_steps_of_the_alignment(first: int, second: int) -> None:
    assert plan_bytes([Buffer(first, 0, 1), Buffer(second, 0, 1)]) % ALIGNMENT == 0
