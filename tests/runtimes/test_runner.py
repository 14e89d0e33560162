from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from edgewright.devices.local import LocalDevice
from edgewright.ir.errors import InputError, StepError
from edgewright.runtimes import Emitted, open_runner, runner
from torch import nn

Emit = Callable[..., Emitted]


@pytest.fixture
def artifact(emit: Emit, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return tmp_path / emit(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), torch.randn(2, 3, 4)).main


def test_many_chunks_give_what_one_gives(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.random.default_rng(0).standard_normal((23, 3, 4)).astype(np.float32)
    with open_runner("onnxruntime", LocalDevice(), artifact, threads=1) as loaded:
        (whole,) = loaded.run({"image": samples})
        monkeypatch.setattr(runner, "CHUNK_BYTES", 5 * samples[0].nbytes)
        (parts,) = loaded.run({"image": samples})
    assert whole.shape == (23, 5)
    assert np.array_equal(whole, parts)


def test_it_knows_what_loading_cost_and_what_time_means(artifact: Path) -> None:
    with open_runner("onnxruntime", LocalDevice(), artifact, threads=1) as loaded:
        assert loaded.outputs == ("output",)
        assert loaded.load_ns > 0
        assert loaded.first_inference_ns > 0
        assert loaded.peak_rss_bytes is not None
        assert loaded.rss_before_load_bytes is not None
        assert loaded.peak_rss_bytes > loaded.rss_before_load_bytes
        assert "InferenceSession.run" in loaded.timed
        assert loaded.warm_up(1.0).runs > 1
        assert len(loaded.time(7)) == 7
        assert loaded.identity()["threads"] == 1


def test_two_runners_take_turns(artifact: Path) -> None:
    sample = np.ones((1, 3, 4), np.float32)
    with (
        open_runner("onnxruntime", LocalDevice(), artifact, threads=1) as first,
        open_runner("onnxruntime", LocalDevice(), artifact, threads=1) as second,
    ):
        for _ in range(3):
            assert np.array_equal(first.run({"image": sample})[0], second.run({"image": sample})[0])
            assert len(first.time(2)) == len(second.time(2)) == 2


def test_what_does_not_load_is_named_with_its_runtime_and_device(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08")
    with pytest.raises(StepError, match=r"broken\.onnx in onnxruntime on local: load: "):
        open_runner("onnxruntime", LocalDevice(), broken, threads=1)
    with pytest.raises(StepError, match=r"none\.onnx in onnxruntime on local: .*found nothing there"):
        open_runner("onnxruntime", LocalDevice(), tmp_path / "none.onnx", threads=1)


def test_an_unknown_runtime_is_refused(artifact: Path) -> None:
    with pytest.raises(InputError, match="expected one of onnxruntime, tflite, got 'abacus'"):
        open_runner("abacus", LocalDevice(), artifact, threads=1)
