"""Our quantizer beside onnxruntime's `quantize_static` (u8s8, QDQ, per-channel): same model, same samples, one run.

On a machine without VNNI both take weights of 7 bits, as onnxruntime's guide advises (`reduce_range`); the rows
"onnxruntime, 8 bits" show what happens where nobody does.

    python benchmarks/suite/quantization.py [--quick] [--data FOLDER] [--network NAME]...

Every build runs in a process of its own, so that its seconds and its peak memory are its own; accuracy and flips are
those of the artifacts in onnxruntime; latency is taken in turns, one thread. Both sides build on the threads that they
take by themselves, and their libraries are imported before the clock starts. FOLDER holds the networks and images
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
TIMED, TURNS = ("entropy", 1024), 5
"""The calibration whose build times are compared: both sides build so often, in turns, and the medians count."""
OURS, THEIRS, UNREDUCED = "edgewright", "onnxruntime", "onnxruntime, 8 bits"
DEFAULT = ("mse", 256)
"""Our default calibration, which is held against the best of theirs."""
NETWORKS = ("resnet20_cifar10", "resnet20_cifar10jpeg_derived", "resnet56_cifar10")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer images and builds")
    _cifar.add_data_option(parser)
    parser.add_argument("--network", action="append", choices=NETWORKS)
    parser.add_argument("--target", default="host")
    parser.add_argument("--build", nargs=5, metavar=("WHO", "NETWORK", "METHOD", "SAMPLES", "OUT"), help="one build")
    options = parser.parse_args()
    if options.build:
        who, network, method, samples, out = options.build
        if who == OURS:
            seconds = build_ours(options, network, method, int(samples), Path(out))
        else:
            seconds = build_theirs(options, who, network, method, int(samples), Path(out))
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "peak_mib": peak_mib}))
        return
    _cifar.end_without(options.data)
    rows: list[dict[str, Any]] = []
    claims: list[list[str]] = []
    for network in options.network or NETWORKS:
        found, said = compare(options, network)
        rows += found
        claims += said
    write(rows, claims, options.quick)


def compare(options: argparse.Namespace, network: str) -> tuple[list[dict[str, Any]], list[list[str]]]:
    """One row for each way of building, with what its artifact does, and what follows for our claims."""
    samples = _cifar.Samples(options.data, "test")
    count = 2000 if options.quick else len(samples)
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            {"network": network, "who": who, "method": method, "samples": number}
            for who, method, number in builds(options)
        ]
        for index, row in enumerate(rows):
            out = Path(folder) / str(index)
            out.mkdir()
            row.update(in_own_process(options, row, out))
            print(f"{network}: {row['who']} {row['method']} {row['samples']}: {row['seconds']:.1f} s", file=sys.stderr)
        take_turns(options, rows, Path(folder))
        sessions = [_measure.session(Path(folder) / str(index) / "model.onnx") for index in range(len(rows))]
        predicted = [_measure.predictions(runner, samples.arrays(1, count)) for runner in sessions]
        for row, classes in zip(rows, predicted, strict=True):
            row["top1"] = float((classes == samples.labels[:count]).mean())
            row["flips"] = float((classes != predicted[0]).mean())
        image = next(samples.arrays(1, 1))[0]
        taken = _measure.in_turns(sessions, image, ROUNDS)
        for row, times in zip(rows, taken, strict=True):
            row["ms"] = float(np.median(times)) / 1e6
    return rows, claims_of(network, rows, predicted, taken)


def take_turns(options: argparse.Namespace, rows: list[dict[str, Any]], folder: Path) -> None:
    """The rows of `TIMED` hold the median seconds of `TURNS` builds, one of each side after the other."""
    timed = [row for row in rows if (row["method"], row["samples"]) == TIMED]
    taken = [[row["seconds"]] for row in timed]
    for turn in range(1, TURNS):
        for row, seconds in zip(timed, taken, strict=True):
            out = folder / f"{row['who']}-{turn}"
            out.mkdir()
            seconds.append(in_own_process(options, row, out)["seconds"])
    for row, seconds in zip(timed, taken, strict=True):
        row["seconds"], row["all_seconds"] = float(np.median(seconds)), seconds
        print(f"{row['network']}: {row['who']} {row['method']}: {seconds}", file=sys.stderr)


def claims_of(network: str, rows: list[dict[str, Any]], predicted: list[Any], taken: Any) -> list[list[str]]:
    """What this run says of the default calibration beside the peer's best, of build time, and of memory."""
    places = {(row["who"], row["method"], row["samples"]): place for place, row in enumerate(rows)}
    ours = places[OURS, *DEFAULT]
    peer = min((place for (who, *_), place in places.items() if who == THEIRS), key=lambda place: rows[place]["flips"])
    differs = (predicted[ours] != predicted[0]).astype(float) - (predicted[peer] != predicted[0])
    error = differs.std() / len(differs) ** 0.5
    ratio, low, high = _measure.ratio(taken[ours], taken[peer])
    best = f"{rows[peer]['method']}, {rows[peer]['samples']}"
    said = [
        ["top-1 against float", f"{100 * (rows[ours]['top1'] - rows[0]['top1']):+.2f} points"],
        [f"flips against the peer's best ({best})", f"{100 * differs.mean():+.2f} +- {100 * error:.2f} points"],
        [f"latency against the peer's ({best})", f"{ratio:.3f} ({low:.3f} to {high:.3f})"],
    ]
    mine, other = places.get((OURS, "entropy", 1024)), places.get((THEIRS, "entropy", 1024))
    if mine is not None and other is not None:
        said.append(["seconds, entropy, 1024", f"{rows[mine]['seconds'] / rows[other]['seconds']:.2f} of the peer's"])
    few, many = places.get((OURS, "entropy", 256)), places.get((OURS, "entropy", 4096))
    if few is not None and many is not None:
        growth = rows[many]["peak_mib"] / rows[few]["peak_mib"] - 1
        said.append(["peak memory, 256 to 4096 samples", f"{growth:+.1%}"])
    return [[network, *line] for line in said]


def builds(options: argparse.Namespace) -> list[tuple[str, str, int]]:
    """Who builds how, the float model first."""
    ours = [DEFAULT, ("percentile", 256), ("entropy", 1024)]
    theirs = [("min-max", 256), ("percentile", 256), ("entropy", 256), ("entropy", 1024)]
    if not options.quick:
        ours += [("min-max", 256), ("entropy", 256), ("entropy", 4096)]
    unreduced = [(UNREDUCED, "percentile", 256)] if weight_bits(options) < 8 else []
    return [
        (OURS, "float", 0),
        *((OURS, *entry) for entry in ours),
        *((THEIRS, *entry) for entry in theirs),
        *unreduced,
    ]


def weight_bits(options: argparse.Namespace) -> int:
    """How many bits the target's profile wants int8 weights to use."""
    from edgewright.pipeline.planning import resolve

    int8 = resolve(options.target).quantization.int8_static
    return 8 if int8 is None else int8.weight_bits


def in_own_process(options: argparse.Namespace, row: dict[str, Any], out: Path) -> dict[str, float]:
    """Seconds and peak memory of one build, on as many threads as each side takes by itself (onnxruntime: all)."""
    command = [sys.executable, str(Path(__file__).resolve()), "--data", str(options.data), "--target", options.target]
    command += ["--build", row["who"], row["network"], row["method"], str(row["samples"]), str(out)]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
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
    from edgewright.pipeline.planning import resolve
    from edgewright.recipe.quantization import Calibration, Quantize
    from edgewright.recipe.schema import Compress, Recipe
    from edgewright.runtimes.onnxruntime import OnnxEmitter

    target = resolve(options.target)
    data = _cifar.Splits(_cifar.Samples(options.data, "train"))
    context = Context(data, "classification", 0, out, lambda text: None)  # type: ignore[arg-type]
    state = folded(options.data, network, context)
    from onnxscript.function_libs.torch_lib import ops  # noqa: F401  (what torch.onnx imports when it is first called)

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


def build_theirs(options: argparse.Namespace, who: str, network: str, method: str, samples: int, out: Path) -> float:
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

    reduced = who == THEIRS and weight_bits(options) < 8
    methods = {"min-max": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
    start = time.perf_counter()
    library.quantize_static(
        str(floats / "model.onnx"),
        str(out / "model.onnx"),
        Reader(),
        quant_format=library.QuantFormat.QDQ,
        per_channel=True,
        reduce_range=reduced,
        activation_type=library.QuantType.QUInt8,
        weight_type=library.QuantType.QInt8,
        calibrate_method=library.CalibrationMethod[methods[method]],
    )
    return time.perf_counter() - start


def write(rows: list[dict[str, Any]], claims: list[list[str]], quick: bool) -> None:
    """The table is printed and lies beside this file, with the machine and the versions that it belongs to."""
    lines = []
    for row in rows:
        how = row["method"] + (f", {row['samples']}" if row["samples"] else "")
        measured = [f"{row['top1']:.2%}", f"{row['flips']:.2%}", f"{row['ms']:.3f}", f"{row['seconds']:.1f}"]
        lines.append([row["network"], row["who"], how, *measured, f"{row['peak_mib']:.0f}"])
    headers = ["network", "built by", "calibration", "top-1", "flips", "ms", "build s", "peak MiB"]
    held = _measure.table(["network", "edgewright, mse, 256", "found"], claims)
    text = (
        "Calibration, quantization and emission; latency in turns, one thread; flips are predictions that differ from"
        f" those of the float model.\n\n{_measure.table(headers, lines)}\n\n{held}"
    )
    _measure.write("quantization", text, rows, _measure.origin("onnxruntime", "torch"), quick=quick)


if __name__ == "__main__":
    main()
