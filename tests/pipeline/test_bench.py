"""bench and verify: artifacts from their folders alone, on the real runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgewright.devices.local import LocalDevice
from edgewright.devices.qemu import CORES, QemuDevice
from edgewright.ir.errors import InputError, StepError
from edgewright.pipeline.bench import bench, device_named, verify
from edgewright.ship import manifest


def test_devices_have_names() -> None:
    assert isinstance(device_named("local"), LocalDevice)
    with pytest.raises(InputError, match=r"devices: board: expected one of local, tflite-runtime, .*, got 'board'"):
        device_named("board")


def test_one_artifact_is_measured_alone(built: Any, listener: Any) -> None:
    found = bench(built.artifact, None, LocalDevice(), None, listener)
    assert set(found.reports) == {"artifact"}
    assert found.comparison is None
    report = found.reports["artifact"]
    assert report.identity["threads"] == manifest.read(built.artifact).threads
    assert listener.units["latency"] == len(report.rounds_ns)
    document = json.loads(json.dumps(found.to_json()))
    assert document["comparison"] is None
    assert document["reports"]["artifact"]["rounds_ns"] == [list(block) for block in report.rounds_ns]


def test_two_artifacts_are_measured_in_turns_in_one_session(built: Any, listener: Any) -> None:
    found = bench(built.artifact, built.artifact / "baseline", LocalDevice(), 2, listener)
    against, artifact = found.reports["against"], found.reports["artifact"]
    assert against.session == artifact.session
    assert against.identity["threads"] == artifact.identity["threads"] == 2
    assert len(against.rounds_ns) == len(artifact.rounds_ns)
    assert found.comparison is not None
    assert found.comparison.low <= found.comparison.ratio <= found.comparison.high
    assert found.to_json()["comparison"]["verdict"] == found.comparison.verdict


@pytest.mark.parametrize("which", ["", "baseline"])
def test_an_artifact_on_the_runtime_that_made_it_gives_its_golden_outputs(which: str, built: Any) -> None:
    found = verify(built.artifact / which, LocalDevice())
    (each,) = found.outputs.values()
    assert (each.parity.largest_steps, each.share_equal) == (0, 1)
    assert (found.device, found.is_emulated, found.identity["emulated"]) == ("local", False, False)
    assert json.loads(json.dumps(found.to_json()))["outputs"]["output"]["largest_steps"] == 0


def test_values_that_are_not_equal_are_counted(built: Any, tmp_path: Path) -> None:
    copy = built.copied(tmp_path)
    golden = copy.artifact / "golden" / "outputs.npz"
    with np.load(golden) as arrays:
        outputs = dict(arrays)
    (step,) = [entry.step for entry in manifest.read(copy.artifact).outputs]
    outputs["output"][0] += step
    np.savez(golden, **outputs)
    copy.reseal()
    (each,) = verify(copy.artifact, LocalDevice()).outputs.values()
    assert each.share_equal == 1 - 1 / len(outputs["output"])
    assert round(each.parity.largest_steps) == 1 <= each.allowed_steps


def test_an_emulated_device_is_never_timed(built: Any, tmp_path: Path, listener: Any) -> None:
    device = QemuDevice(CORES[0], tmp_path, "no emulator is asked")
    with pytest.raises(InputError, match=r"bench: device: .*'qemu-cortex-a53', which is emulated"):
        bench(built.artifact, None, device, None, listener)


def test_outputs_that_are_further_off_than_they_may_be_are_an_error(built: Any, tmp_path: Path) -> None:
    copy = built.copied(tmp_path)
    golden = copy.artifact / "golden" / "outputs.npz"
    with np.load(golden) as arrays:
        outputs = dict(arrays)
    (step,) = [entry.step for entry in manifest.read(copy.artifact).outputs]
    np.savez(golden, **{name: values + 100 * step for name, values in outputs.items()})
    copy.reseal()
    with pytest.raises(
        StepError, match=r"verify: output 'output' is 100 steps from its golden vector, expected at most"
    ):
        verify(copy.artifact, LocalDevice())


def test_an_artifact_without_golden_vectors_cannot_be_verified(built: Any, tmp_path: Path) -> None:
    copy = built.copied(tmp_path)
    document = json.loads((copy.artifact / manifest.FILE).read_text())
    document["files"] = {name: entry for name, entry in document["files"].items() if "golden" not in name}
    (copy.artifact / manifest.FILE).write_text(json.dumps(document))
    with pytest.raises(InputError, match="golden: expected golden vectors, got none"):
        verify(copy.artifact, LocalDevice())


def test_a_changed_file_is_never_loaded(built: Any, tmp_path: Path, listener: Any) -> None:
    copy = built.copied(tmp_path)
    (copy.artifact / "model.onnx").write_bytes(b"something else")
    with pytest.raises(InputError, match=r"files\.model\.onnx: expected SHA-256"):
        verify(copy.artifact, LocalDevice())
    with pytest.raises(InputError, match=r"files\.model\.onnx: expected SHA-256"):
        bench(built.artifact, copy.artifact, LocalDevice(), None, listener)
