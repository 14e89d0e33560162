"""One recipe for three runtimes: on how many samples the artifacts for ONNX Runtime, TFLite and TensorRT agree.

    python benchmarks/suite/agreement.py [--quick] [--data FOLDER]

All artifacts come from the same exported network, calibrated on the same samples by our default method. Each runs in
its own runtime, but the one for TensorRT where no GPU is: its graph is then computed by the reference that the table
names. FOLDER holds the networks and images that the README's section on benchmarks tells of. Writes
results/agreement.md, and results/agreement.json with the index of each sample on which artifacts differ.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _cifar
import _measure
import numpy as np
from _tflite_files import Numbers, folded, ours
from _tflite_networks import inputs, resnet

NETWORK, SAMPLES = "resnet20_cifar10jpeg_derived", 256
TARGETS = ("host", "arm64-cortex-a72", "nvidia-rtx-ada")
LEAST = 0.985
"""The share of samples on which each two must predict the same."""


@dataclass(frozen=True)
class Row:
    """One artifact: `ran_by` names the runtime, or its reference; `classes` (images,) are its predictions."""

    target: str
    profile: str
    ran_by: str
    classes: Numbers


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
        rows = [run(state, context, name, SAMPLES, Path(folder) / name, values) for name in TARGETS]
    write(rows, floats.classes, labels, options.quick)


def run(state: Any, context: Any, target_name: str, samples: int, out: Path, values: Numbers) -> Row:
    """What the artifact for the target says of each of the inputs, on this machine."""
    from edgewright.devices.local import LocalDevice
    from edgewright.pipeline.planning import resolve
    from edgewright.runtimes import emitter, open_prover

    target = resolve(target_name)
    built = ours(state, context, samples, out, target_name)
    print(f"{target_name} {samples}: built", file=sys.stderr)
    with open_prover(target.runtime, LocalDevice(), built.path, built.emitted.ports) as runner:
        classes: Numbers = runner.run({"image": values})[0].argmax(1)
    reference = emitter(target.runtime).reference()
    ran_by = target.runtime if reference is None else f"{reference.runtime} (reference)"
    return Row(target_name, target.name, ran_by, classes)


def between(first: Row, second: Row, floats: Numbers, labels: Numbers) -> dict[str, Any]:
    """How often two artifacts predict the same, and each sample on which they do not."""
    differ = np.flatnonzero(first.classes != second.classes)
    return {
        "targets": [first.target, second.target],
        "agreement": 1 - len(differ) / len(labels),
        "differ": [
            {
                "index": int(index),
                "label": int(labels[index]),
                "float": int(floats[index]),
                **{row.target: int(row.classes[index]) for row in (first, second)},
            }
            for index in differ
        ],
    }


def told(pair: dict[str, Any]) -> list[str]:
    """The pair's row of the second table: who is right where they differ, and where both leave the float model."""
    first, second = pair["targets"]
    right = [str(sum(entry[name] == entry["label"] for entry in pair["differ"])) for name in (first, second)]
    unsure = sum(entry["float"] not in (entry[first], entry[second]) for entry in pair["differ"])
    verdict = "met" if pair["agreement"] >= LEAST else "MISSED"
    return [first, second, f"{pair['agreement']:.2%}", verdict, str(len(pair["differ"])), *right, str(unsure)]


def write(rows: list[Row], floats: Numbers, labels: Numbers, quick: bool) -> None:
    """The tables are printed and lie beside this file, with the machine and the versions that they belong to."""
    figures = [
        {
            "target": row.target,
            "profile": row.profile,
            "ran_by": row.ran_by,
            "top1": float((row.classes == labels).mean()),
            "flips": float((row.classes != floats).mean()),
        }
        for row in rows
    ]
    lines = [
        [row["target"], row["profile"], row["ran_by"], f"{row['top1']:.2%}", f"{row['flips']:.2%}"] for row in figures
    ]
    pairs = [between(first, second, floats, labels) for first, second in itertools.combinations(rows, 2)]
    heads = ["one", "other", "predict the same", f"bar: {LEAST:.1%}", "differ on", "one is right", "other is right"]
    text = (
        f"{NETWORK}, quantized by one recipe for {len(rows)} targets, {SAMPLES} samples, mse; {len(labels)} images;"
        f" flips are predictions that differ from those of the float model.\n\n"
        f"{_measure.table(['target', 'profile', 'run by', 'top-1', 'flips'], lines)}\n\n"
        f"{_measure.table([*heads, 'neither is as the float model'], [told(pair) for pair in pairs])}\n\n"
        f"agreement.json lists the images on which they differ."
    )
    where = _measure.origin("onnxruntime", "ai-edge-litert", "litert-torch", "torch")
    found = {"targets": figures, "pairs": pairs, "samples": len(labels)}
    _measure.write("agreement", text, found, where, quick=quick)


if __name__ == "__main__":
    main()
