"""Everything that is to be known of a TensorRT artifact on the GPU that it is for, in one go.

    python benchmarks/suite/nvidia_device.py ARTIFACT [--quick]

Builds the engine twice, so that the second time its timing cache is there; proves it against the golden vectors; times
every precision that the artifact and its baseline hold, with CUDA graphs and without, end to end and by CUDA events, in
the smallest, the best and the largest batch; and asks TensorRT for each layer's time. The artifact is copied first, and
nothing is written into it. Writes results/nvidia_device.json and .md beside this file. Exit codes: 1 the engine can't
be built, has fewer layers in INT8 than it should or computes something else; 2 no GPU, no TensorRT or no such artifact.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import _measure

Row = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("artifact", type=Path, help="the folder of an artifact that was built for an NVIDIA target")
    parser.add_argument("--quick", action="store_true", help="the best batch alone; results go to out/")
    options = parser.parse_args()
    from edgewright.ir.errors import InputError, StepError

    if reason := missing():
        print(f"not run: {reason}", file=sys.stderr)
        return 2
    try:
        with tempfile.TemporaryDirectory(prefix="edgewright-device-") as folder:
            checked(options.artifact)
            copy = Path(shutil.copytree(options.artifact, Path(folder) / options.artifact.resolve().name))
            text, rows = measured(copy, options.quick)
    except (InputError, StepError) as error:
        print(f"not done: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    _measure.write("nvidia_device", text, rows, where(rows), quick=options.quick)
    return 0


def missing() -> str:
    """What this machine lacks; empty where it has a GPU and TensorRT."""
    from edgewright.runtimes.tensorrt_build import host

    lacks = host.why_not()
    return f"this machine lacks {lacks} (edgewright doctor says more)" if lacks else ""


def checked(artifact: Path) -> None:
    """InputError where it is no whole artifact for TensorRT."""
    from edgewright.ir.errors import InputError, Problem
    from edgewright.ship import manifest

    if (runtime := manifest.read(artifact).runtime) != "tensorrt":
        raise InputError(Problem(str(artifact), "runtime", "an artifact for tensorrt", runtime))


def measured(artifact: Path, is_quick: bool) -> tuple[str, Row]:
    """The text and the rows of it all; the timing cache comes to lie in the artifact."""
    from edgewright.devices.local import LocalDevice
    from edgewright.ir.progress import Silent
    from edgewright.pipeline.bench import bench, verify
    from edgewright.pipeline.profile import profile
    from edgewright.pipeline.ways import Asked

    device = LocalDevice()
    builds = [built(artifact) for _ in range(2)]
    proved = verify(artifact, device)
    asked = Asked(batches(artifact, is_quick), cuda_graph=None, events=True, precisions=True)
    timed = bench(artifact, None, device, None, Silent(), asked)
    layers = profile(artifact, device, None)
    rows: Row = {"builds": builds, "verify": proved.to_json(), "bench": timed.to_json(), "layers": layers.to_json()}
    distances = [f"{name} {each.parity.largest_steps:.2g}" for name, each in proved.outputs.items()]
    parts = [
        f"# {artifact.name} on {builds[0]['gpu']}",
        _measure.table(list(SHOWN), [[str(build["engine"][key]) for key in SHOWN] for build in builds]),
        f"Steps from the golden vectors, at most: {', '.join(distances)} (on {proved.place}).",
        f"```text\n{timed.to_text()}```",
        f"```text\n{layers.to_text()}```",
    ]
    return "\n\n".join(parts), rows


SHOWN = ("timing_cache", "build_seconds", "layers", "int8_layers", "bytes")


def built(artifact: Path) -> Row:
    """What ran the engine, and what the builder said of it. StepError where it can't be had as it was promised."""
    from edgewright.devices.local import LocalDevice
    from edgewright.runtimes import open_runner
    from edgewright.ship import manifest

    with open_runner("tensorrt", LocalDevice(), artifact / manifest.read(artifact).main, 1) as runner:
        return runner.identity()


def batches(artifact: Path, is_quick: bool) -> tuple[int, ...]:
    """The smallest, the best and the largest batch of the engine."""
    shapes = json.loads((artifact / "engine.json").read_text())["shapes"].values()
    found = [min(shape[key][0] for shape in shapes) for key in ("min", "opt", "max")]
    return tuple(sorted(set(found[1:2] if is_quick else found)))


def where(rows: Row) -> dict[str, str]:
    """The day, the GPU, the driver and the versions."""
    told = rows["builds"][0]
    origin = _measure.origin("onnx", "numpy")
    named = {told["runtime"]: told["runtime_version"], "CUDA of the driver": told["driver_cuda"]}
    clock = f"{told['gpu_highest_clock_mhz']:.0f} MHz at most"
    return {**origin, "GPU": told["gpu"], "capability": told["gpu_compute_capability"], "clock": clock, **named}


if __name__ == "__main__":
    sys.exit(main())
