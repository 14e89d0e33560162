from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from edgewright.devices.local import LocalDevice
from edgewright.ir.errors import InputError, StepError
from edgewright.runtimes import Emitted, open_runner, runner
from edgewright.runtimes.layers import layers
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
    with pytest.raises(InputError, match="expected one of onnxruntime, tensorrt, tflite, got 'abacus'"):
        open_runner("abacus", LocalDevice(), artifact, threads=1)


def test_the_files_own_values_can_be_had_of_one_inference(artifact: Path) -> None:
    sample = np.random.default_rng(0).standard_normal((1, 3, 4)).astype(np.float32)
    (inner,) = [layer.sources for layer in layers("onnxruntime", artifact) if layer.operator != "input"]
    graph = onnx.load(artifact).graph
    (flat,) = [node.output[0] for node in graph.node if node.op_type in ("Reshape", "Flatten")]
    with open_runner("onnxruntime", LocalDevice(), artifact, threads=1, options={"keep_tensors": [flat]}) as loaded:
        found = loaded.tensors({"image": sample})
        assert inner == ("image",)
        assert set(found) == {"image", flat, "output"}
        assert np.array_equal(found[flat], sample.reshape(1, 12))
        assert np.array_equal(found["output"], loaded.run({"image": sample})[0])
        with pytest.raises(StepError, match="expected one inference since the last request, found 2"):
            loaded.tensors({"image": np.repeat(sample, 2, 0)})


def test_without_the_option_inputs_and_outputs_can_be_had(artifact: Path) -> None:
    with open_runner("onnxruntime", LocalDevice(), artifact, threads=1) as loaded:
        assert set(loaded.tensors({"image": np.ones((1, 3, 4), np.float32)})) == {"image", "output"}
        with pytest.raises(StepError, match="expected the load option profile"):
            loaded.profile(1)


def test_operators_are_timed_with_the_profiler(artifact: Path) -> None:
    with open_runner("onnxruntime", LocalDevice(), artifact, threads=1, options={"profile": True}) as loaded:
        found = loaded.profile(5)
    assert len(found.samples_ns) == 5
    assert "Gemm" in {each.operator for each in found.operators}
    assert all(len(each.samples_ns) == 5 for each in found.operators)
    assert sum(map(sum, (each.samples_ns for each in found.operators))) <= sum(found.samples_ns)


def test_an_option_that_the_runtime_lacks_is_named(artifact: Path) -> None:
    expected = "options: expected only batch, keep_tensors, profile, unoptimized, got 'xnnpack'"
    with pytest.raises(StepError, match=expected):
        open_runner("onnxruntime", LocalDevice(), artifact, threads=1, options={"xnnpack": False})
