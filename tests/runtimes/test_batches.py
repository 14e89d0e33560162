"""How many samples an artifact takes, by its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from edgewright.ir.errors import InputError
from edgewright.runtimes.batches import batch_range
from edgewright.runtimes.tensorrt_build.settings import FILE


def test_other_runtimes_take_the_networks_batch_or_any(tmp_path: Path) -> None:
    assert batch_range("onnxruntime", tmp_path, None) == (1, None)
    assert batch_range("tflite", tmp_path, 4) == (4, 4)


def test_an_engine_takes_what_all_its_inputs_take(tmp_path: Path) -> None:
    shapes = {"a": {"min": [1, 3], "opt": [4, 3], "max": [16, 3]}, "b": {"min": [2], "opt": [4], "max": [32]}}
    (tmp_path / FILE).write_text(json.dumps({"shapes": shapes}))
    assert batch_range("tensorrt", tmp_path, None) == (2, 16)


@pytest.mark.parametrize("text", ["{", "{}", '{"shapes": {"a": {"min": []}}}', '{"shapes": {}}', "[]", '{"shapes": 3}'])
def test_settings_that_are_not_as_they_were_written_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(InputError, match=r"engine.json: shapes: expected the engine's shapes: min and max of each"):
        batch_range("tensorrt", tmp_path, None)


def test_settings_that_are_not_there_are_missed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="FileNotFoundError"):
        batch_range("tensorrt", tmp_path, None)
