from __future__ import annotations

import json
from pathlib import Path

import pytest
from edgewright.ir.state import InputSpec
from edgewright.runtimes.contract import BatchRange
from edgewright.runtimes.tensorrt_build.settings import FILE, Settings, shape_profile, stand_in
from edgewright.targets import load_target


def test_a_fixed_batch_is_all_that_an_engine_takes() -> None:
    shapes = shape_profile([InputSpec("image", (4, 3, 8, 8)), InputSpec("scale", (4, 1))], BatchRange())
    assert shapes == {
        "image": {key: [4, 3, 8, 8] for key in ("min", "opt", "max")},
        "scale": {key: [4, 1] for key in ("min", "opt", "max")},
    }


def test_an_open_batch_is_a_range() -> None:
    shapes = shape_profile([InputSpec("image", (None, 3, 8, 8))], BatchRange(2, 8, 32))["image"]
    assert shapes == {"min": [2, 3, 8, 8], "opt": [8, 3, 8, 8], "max": [32, 3, 8, 8]}


@pytest.mark.parametrize(
    ("target", "asked"),
    [
        ("nvidia-rtx-ampere", "8.6"),
        ("nvidia-rtx-ada", "8.9"),
        ("nvidia-rtx-blackwell", "12.0"),
        ("nvidia-jetson-orin", "8.6"),
        ("nvidia-hopper", "8.9"),
        ("nvidia-t4", ""),
    ],
)
def test_the_builder_is_asked_about_the_gpu_or_the_next_one_below(target: str, asked: str) -> None:
    gpu = load_target(target).gpu
    assert gpu is not None
    assert stand_in(gpu) == asked


def test_the_file_holds_all_of_it(tmp_path: Path) -> None:
    shapes = shape_profile([InputSpec("x", (1, 2))], BatchRange())
    settings = Settings("model.onnx", shapes, ("conv",), "8.9", "tensorrt-rtx", True)
    assert settings.write(tmp_path) == tmp_path / FILE
    document = json.loads((tmp_path / FILE).read_text())
    assert Settings(**{**document, "int8_layers": tuple(document["int8_layers"])}) == settings
