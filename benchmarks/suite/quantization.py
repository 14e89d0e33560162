"""Our quantizer beside onnxruntime's `quantize_static` (u8s8, QDQ, per-channel): same model, same samples, one run.

    python benchmarks/suite/quantization.py [--quick] [--data FOLDER] [--network NAME]...

Every build runs in a process of its own, so that its seconds and its peak memory are its own; accuracy and flips are
those of the artifacts in onnxruntime; latency is taken in turns, one thread. FOLDER holds the networks and images
that the README's section on benchmarks tells of. Writes results/quantization.json and .md beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _cifar
import _measure
import numpy as np

ROUNDS = 400
NETWORKS = ("resnet20_cifar10", "resnet20_cifar10jpeg_derived", "resnet56_cifar10")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer images and builds")
    _cifar.add_data_option(parser)
    parser.add_argument("--network", action="append", choices=NETWORKS)
    parser.add_argument("--target", default="x86-avx512-vnni")
    parser.add_argument("--build", nargs=5, metavar=("WHO", "NETWORK", "METHOD", "SAMPLES", "OUT"), help="one build")
    options = parser.parse_args()
    if options.build:
        who, network, method, samples, out = options.build
        build = build_ours if who == "edgewright" else build_theirs
        seconds = build(options, network, method, int(samples), Path(out))
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "peak_mib": peak_mib}))
        return
    _cifar.end_without(options.data)
    rows = [row for network in options.network or NETWORKS for row in compare(options, network)]
    write(rows, options.quick)


def compare(options: argparse.Namespace, network: str) -> list[dict[str, Any]]:
    """One row for each way of building, with what its artifact does."""
    samples = _cifar.Samples(options.data, "test")
    count = 2000 if options.quick else len(samples)
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            {"network": network, "who": who, "method": method, "samples": number}
            for who, method, number in builds(options.quick)
        ]
        for index, row in enumerate(rows):
            out = Path(folder) / str(index)
            out.mkdir()
            row.update(in_own_process(options, row, out))
            print(f"{network}: {row['who']} {row['method']} {row['samples']}: {row['seconds']:.1f} s", file=sys.stderr)
        sessions = [_measure.session(Path(folder) / str(index) / "model.onnx") for index in range(len(rows))]
        reference = _measure.predictions(sessions[0], samples.arrays(1, count))
        for row, runner in zip(rows, sessions, strict=True):
            predicted = _measure.predictions(runner, samples.arrays(1, count))
            row["top1"] = float((predicted == samples.labels[:count]).mean())
            row["flips"] = float((predicted != reference).mean())
        image = next(samples.arrays(1, 1))[0]
        for row, times in zip(rows, _measure.in_turns(sessions, image, ROUNDS), strict=True):
            row["ms"] = float(np.median(times)) / 1e6
    return rows


def builds(quick: bool) -> list[tuple[str, str, int]]:
    """Who builds how, the float model first."""
    ours = [("mse", 256), ("percentile", 256), ("min-max", 256), ("entropy", 1024)]
    theirs = [("min-max", 256), ("percentile", 256), ("entropy", 256), ("entropy", 1024)]
    if not quick:
        ours += [("entropy", 256), ("entropy", 4096), ("mse", 1024), ("mse", 4096)]
    return [
        ("edgewright", "float", 0),
        *(("edgewright", *entry) for entry in ours),
        *(("onnxruntime", *entry) for entry in theirs),
    ]


def in_own_process(options: argparse.Namespace, row: dict[str, Any], out: Path) -> dict[str, float]:
    """Seconds and peak memory of one build."""
    command = [sys.executable, str(Path(__file__).resolve()), "--data", str(options.data), "--target", options.target]
    command += ["--build", row["who"], row["network"], row["method"], str(row["samples"]), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def build_ours(options: argparse.Namespace, network: str, method: str, samples: int, out: Path) -> float:
    """`out` holds the artifact; returns the seconds that calibrating, quantizing and emitting took."""
    from edgewright.passes import manager
    from edgewright.passes.calibrate import Calibrate
    from edgewright.passes.contract import Context
    from edgewright.passes.insert_quantization import InsertQuantization
    from edgewright.recipe.schema import Calibration, Compress, Quantize, Recipe
    from edgewright.runtimes.onnxruntime import OnnxEmitter
    from edgewright.targets import load_target

    target = load_target(options.target)
    data = _cifar.Splits(_cifar.Samples(options.data, "train"))
    context = Context(data, "classification", 0, out, lambda text: None)  # type: ignore[arg-type]
    state = folded(options.data, network, context)
    start = time.perf_counter()
    if method != "float":
        calibration = Calibration(method=method, samples=samples)  # type: ignore[arg-type]
        recipe = Recipe.model_construct(compress=Compress(quantize=Quantize(calibration=calibration)))
        for kind in (Calibrate, InsertQuantization):
            step: Any = kind.for_target(target, recipe)
            state = manager.run(step, state, context)
    OnnxEmitter().emit(state, target, out)
    return time.perf_counter() - start


def folded(data: Path, network: str, context: Any) -> Any:
    """The network, exported, without batch normalization."""
    from edgewright.ir.state import InputSpec, ModelState
    from edgewright.passes import manager
    from edgewright.passes.export import Export
    from edgewright.passes.fold_batchnorm import FoldBatchnorm

    state = ModelState((InputSpec("image", (1, 3, 32, 32)),), module=_cifar.network(data, network))
    return manager.run(FoldBatchnorm(), manager.run(Export(), state, context), context)


def build_theirs(options: argparse.Namespace, network: str, method: str, samples: int, out: Path) -> float:
    """`out` holds what `quantize_static` makes of the float artifact, which a process of its own builds first."""
    from onnxruntime import quantization as library

    floats = out / "float"
    floats.mkdir()
    in_own_process(options, {"who": "edgewright", "network": network, "method": "float", "samples": 0}, floats)
    batches = _cifar.Samples(options.data, "train").arrays(1, samples)

    class Reader(library.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, _cifar.Images] | None:
            batch = next(batches, None)
            return None if batch is None else {"image": batch[0]}

    methods = {"min-max": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
    start = time.perf_counter()
    library.quantize_static(
        str(floats / "model.onnx"),
        str(out / "model.onnx"),
        Reader(),
        quant_format=library.QuantFormat.QDQ,
        per_channel=True,
        activation_type=library.QuantType.QUInt8,
        weight_type=library.QuantType.QInt8,
        calibrate_method=library.CalibrationMethod[methods[method]],
    )
    return time.perf_counter() - start


def write(rows: list[dict[str, Any]], quick: bool) -> None:
    """The table is printed and lies beside this file, with the machine and the versions that it belongs to."""
    lines = []
    for row in rows:
        how = row["method"] + (f", {row['samples']}" if row["samples"] else "")
        measured = [f"{row['top1']:.2%}", f"{row['flips']:.2%}", f"{row['ms']:.3f}", f"{row['seconds']:.1f}"]
        lines.append([row["network"], row["who"], how, *measured, f"{row['peak_mib']:.0f}"])
    headers = ["network", "built by", "calibration", "top-1", "flips", "ms", "build s", "peak MiB"]
    text = f"Calibration, quantization and emission; latency in turns, one thread.\n\n{_measure.table(headers, lines)}"
    _measure.write("quantization", text, rows, _measure.origin("onnxruntime", "torch"), quick=quick)


if __name__ == "__main__":
    main()
