"""One recipe for two runtimes: on how many samples the artifacts for ONNX Runtime and for TFLite predict the same.

    python benchmarks/suite/agreement.py [--quick] [--data FOLDER]

Both artifacts come from the same exported network, calibrated on the same samples by our default method; each runs in
its own runtime. FOLDER holds the networks and images that the README's section on benchmarks tells of. Writes
results/agreement.md, and results/agreement.json with the index of each sample on which the artifacts differ.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import _cifar
import _measure
import numpy as np
from _tflite_files import Numbers, folded, ours
from _tflite_networks import inputs, resnet

NETWORK, SAMPLES = "resnet20_cifar10jpeg_derived", 256
TARGETS = ("host", "arm64-cortex-a72")
LEAST = 0.985
"""The share of samples on which both must predict the same."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer samples")
    _cifar.add_data_option(parser)
    options = parser.parse_args()
    _cifar.end_without(options.data)
    case = resnet(options.data, NETWORK)
    count = 1000 if options.quick else len(case.evaluation)
    values, labels = inputs(case.evaluation, count), case.evaluation.labels[:count]
    with tempfile.TemporaryDirectory() as folder:
        state, context = folded(case, Path(folder))
        floats = run(state, context, "arm64-cortex-a72", 0, Path(folder) / "float", values)
        predicted = [run(state, context, name, SAMPLES, Path(folder) / name, values) for name in TARGETS]
    rows = [
        {"target": name, "top1": float((each == labels).mean()), "flips": float((each != floats).mean())}
        for name, each in zip(TARGETS, predicted, strict=True)
    ]
    differ = np.flatnonzero(predicted[0] != predicted[1])
    apart = [
        {
            "index": int(index),
            "label": int(labels[index]),
            "float": int(floats[index]),
            **{name: int(each[index]) for name, each in zip(TARGETS, predicted, strict=True)},
        }
        for index in differ
    ]
    write(rows, apart, count, options.quick)


def run(state: Any, context: Any, target_name: str, samples: int, out: Path, values: Numbers) -> Numbers:
    """The class that the artifact for the target gives each of the inputs, in its runtime on this machine."""
    from edgewright.devices.local import LocalDevice
    from edgewright.pipeline.planning import resolve
    from edgewright.runtimes import open_runner

    built = ours(state, context, samples, out, target_name)
    print(f"{target_name} {samples}: built", file=sys.stderr)
    runtime, ports = resolve(target_name).runtime, built.emitted.ports
    with open_runner(runtime, LocalDevice(), built.path, 1, ports) as runner:
        classes: Numbers = runner.run({"image": values})[0].argmax(1)
    return classes


def write(rows: list[dict[str, Any]], apart: list[dict[str, Any]], count: int, quick: bool) -> None:
    """The table is printed and lies beside this file, with the machine and the versions that it belongs to."""
    from edgewright.pipeline.planning import resolve

    same = 1 - len(apart) / count
    lines = []
    for row in rows:
        profile = resolve(row["target"])
        lines.append([row["target"], profile.name, profile.runtime, f"{row['top1']:.2%}", f"{row['flips']:.2%}"])
    first, second = TARGETS
    right = [sum(entry[name] == entry["label"] for entry in apart) for name in TARGETS]
    unsure = sum(entry["float"] not in (entry[first], entry[second]) for entry in apart)
    text = (
        f"{NETWORK}, quantized by one recipe for two targets, {SAMPLES} samples, mse; flips are predictions that differ"
        f" from those of the float model.\n\n"
        f"{_measure.table(['target', 'profile', 'runtime', 'top-1', 'flips'], lines)}\n\n"
        f"Both artifacts predict the same on {same:.2%} of {count} samples (bar: {LEAST:.1%},"
        f" {'met' if same >= LEAST else 'MISSED'}). They differ on {len(apart)}, which agreement.json lists: {first}"
        f" has {right[0]} of these right, {second} {right[1]}; on {unsure} both differ from the float model."
    )
    where = _measure.origin("onnxruntime", "ai-edge-litert", "litert-torch", "torch")
    _measure.write(
        "agreement", text, {"targets": rows, "agreement": same, "samples": count, "differ": apart}, where, quick=quick
    )


if __name__ == "__main__":
    main()
