"""Our TFLite files beside ai-edge-quantizer's static int8 from the same float file, and the vendor's own: one run.

    python benchmarks/suite/tflite.py [--quick] [--data FOLDER] [--recording FILE] [--network NAME]...

Every float file is ours; both sides calibrate on the same samples, we by our default method, ai-edge-quantizer by its
own. Accuracy and flips are those of the files in ai-edge-litert; latency is taken in turns, one thread, with XNNPACK,
on this machine. Parity with the simulated model is counted in ai-edge-litert and, where that device was made
(`edgewright devices make tflite-runtime`; on x86-64 with AVX2), in tflite-runtime 2.14. Its kernels round otherwise:
there the model is simulated as they round, and beside that stands how far they are from the model that rounds once.
FOLDER holds the networks and samples that the README's section on benchmarks tells of; FILE is the recording of
`_mlperf.RECORDING`, without which anomaly detection is left out. Writes results/tflite.json and .md beside this file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import _cifar
import _measure
import _mlperf
import numpy as np
from _tflite_claims import claims_of
from _tflite_files import (
    OLD,
    ROUNDED_ONCE,
    TARGET,
    Built,
    File,
    Numbers,
    folded,
    in_old_interpreter,
    ours,
    theirs,
    timed,
)
from _tflite_networks import CASES, Case, inputs, judged

INSTANCES, ROUNDS = 20, 200
PARITY_SAMPLES = 1000
OURS, THEIRS, VENDOR = "edgewright", "ai-edge-quantizer", "MLPerf Tiny"
ONE_SCALE = "ai-edge-quantizer, one scale"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer samples and rounds")
    _cifar.add_data_option(parser)
    parser.add_argument("--recording", type=Path, help="a recording for anomaly detection")
    parser.add_argument("--network", action="append", choices=tuple(CASES))
    options = parser.parse_args()
    _cifar.end_without(options.data)
    recording = options.recording or options.data / "mlperf_tiny" / "ad" / _mlperf.RECORDING
    rows: list[dict[str, Any]] = []
    claims: list[list[str]] = []
    notes: list[str] = []
    for name in options.network or CASES:
        try:
            case = CASES[name](options.data, recording)
        except FileNotFoundError as error:
            notes.append(f"{name}: not run, there is no {Path(error.filename).name}")
        else:
            found, said = compare(case, options.quick)
            rows, claims = rows + found, claims + said
            notes += [f"{name}: {case.note}"] if case.note else []
        write(rows, claims, notes, options.quick)


def compare(case: Case, quick: bool) -> tuple[list[dict[str, Any]], list[list[str]]]:
    """One row for each file, with what it does, and what follows for our claims."""
    count = min(len(case.evaluation), 1000 if quick else len(case.evaluation))
    values = inputs(case.evaluation, count)
    with tempfile.TemporaryDirectory() as folder:
        rows, default = build(case, quick, Path(folder))
        files = [row.pop("file") for row in rows]
        outputs = []
        for row, file in zip(rows, files, strict=True):
            outputs.append(File(file).answers(values))
            print(f"{case.name}: {row['who']} {row['samples']}: ran", file=sys.stderr)
        rows[1].update(parity(case, default, values, outputs[1]))
        rows[2].update(between(case, files[2], values, outputs[2]))
        worth = np.stack([judged(case, each, count) for each in outputs])
        for row, each, judgements in zip(rows, outputs, worth, strict=True):
            row["score"], row["samples_scored"] = float(judgements.mean()), count
            row["flips"] = flips(case, row, each, outputs[0])
        taken = timed(files, values[:1], 4 if quick else INSTANCES, ROUNDS)
        for row, times in zip(rows, taken, strict=True):
            row["ms"] = float(np.median(times)) / 1e6
    return rows, claims_of(case, rows, worth, outputs, taken)


def build(case: Case, quick: bool, folder: Path) -> tuple[list[dict[str, Any]], Built]:
    """A row for each file, the float one first, ours of the default calibration second; and what made the latter."""
    state, context = folded(case, folder)
    floats = ours(state, context, 0, folder / "float")
    rows = [_row(case, OURS, 0, floats.path)]
    made = []
    for samples in case.counts[: 1 if quick else None]:
        made.append(ours(state, context, samples, folder / f"ours-{samples}"))
        rows.append(_row(case, OURS, samples, made[-1].path))
        rows.append(_row(case, THEIRS, samples, theirs(case, floats.path, samples, folder / f"{samples}.tflite")))
    if case.is_linear:
        samples = case.counts[0]
        file = theirs(case, floats.path, samples, folder / "one.tflite", one_scale=True)
        rows.append(_row(case, ONE_SCALE, samples, file))
    if case.vendor is not None:
        rows.append(_row(case, VENDOR, 0, case.vendor))
    foreign, every = made[0].foreign_scales()
    rows[1].update(foreign_scales=foreign, int8_tensors=every)
    return rows, made[0]


def _row(case: Case, who: str, samples: int, file: Path) -> dict[str, Any]:
    from edgewright.runtimes.flatbuffer.coverage import coverage
    from edgewright.runtimes.flatbuffer.file import read
    from edgewright.runtimes.flatbuffer.graph import operators

    found = coverage(file)
    print(f"{case.name}: {who} {samples}: built", file=sys.stderr)
    return {
        "network": case.name,
        "who": who,
        "samples": samples,
        "file": file,
        "bytes": file.stat().st_size,
        "layers": [found.quantized, found.eligible],
        "float_operators": sum(number for _, number in found.float_operators) + found.conversions,
        "operators": len(operators(read(file))),
    }


def flips(case: Case, row: dict[str, Any], outputs: Numbers, floats: Numbers) -> float | None:
    """The share of samples that get another class than from the float file; None where that says nothing."""
    if case.score != "top1" or (row["who"] == VENDOR and not case.is_same):
        return None
    return float((outputs.argmax(1) != floats.argmax(1)).mean())


def parity(case: Case, built: Built, values: Numbers, outputs: Numbers) -> dict[str, Any]:
    """How far our file is from the simulated model in both interpreters; without the old one where none was made.

    Each interpreter is held against the model as its kernels round.
    """
    values, outputs = values[:PARITY_SAMPLES], outputs[:PARITY_SAMPLES]
    simulated = built.simulated(values)
    (step,) = built.state.attachments["quantization"]["output_steps"]
    found = {"ai-edge-litert": apart(case, simulated, outputs, step)}
    answers = in_old_interpreter(built.path, values)
    if answers is not None:
        found[OLD] = apart(case, built.simulated_old(values), answers, step)
        found[ROUNDED_ONCE] = apart(case, simulated, answers, step)
    return {"parity": found, "parity_samples": len(values)}


def between(case: Case, file: Path, values: Numbers, outputs: Numbers) -> dict[str, Any]:
    """How far the two interpreters are apart on another's file: what the old kernels' rounding alone does."""
    values, outputs = values[:PARITY_SAMPLES], outputs[:PARITY_SAMPLES]
    answers = in_old_interpreter(file, values)
    if answers is None:
        return {}
    return {"parity": {"between": apart(case, outputs, answers, File(file).ports[1].scale)}}


def apart(case: Case, expected: Numbers, outputs: Numbers, step: float) -> dict[str, Any]:
    """The parity of two sets of outputs (N, ...); the largest output means something for classes only."""
    from edgewright.benchmarks import accuracy

    found = asdict(accuracy.parity(expected, outputs, step))
    return found if case.score == "top1" else {**found, "argmax_agreement": None}


def write(rows: list[dict[str, Any]], claims: list[list[str]], notes: list[str], quick: bool) -> None:
    """The table is printed and lies beside this file, with the machine and the versions that it belongs to."""
    lines = []
    for row in rows:
        built = "float" if not row["samples"] and row["who"] == OURS else str(row["samples"] or "int8, theirs")
        is_share = row["score"] <= 1
        score = f"{row['score']:.2%}" if is_share else f"{row['score']:.4f}"
        flipped = "" if row["flips"] is None else f"{row['flips']:.2%}"
        layers = "{} of {}".format(*row["layers"])
        counts = [str(row["operators"]), layers, str(row["float_operators"])]
        lines.append(
            [row["network"], row["who"], built, score, flipped, str(row["bytes"]), f"{row['ms']:.4f}", *counts]
        )
    headers = [
        "network",
        "built by",
        "calibration",
        "score",
        "flips",
        "bytes",
        "ms",
        "operators",
        "int8 layers",
        "float",
    ]
    held = _measure.table(["network", "edgewright, mse, default samples", "bar", "found", ""], claims)
    text = (
        f"TFLite files for {TARGET}, run on this machine in ai-edge-litert with XNNPACK, one thread. The score is"
        " top-1, of the autoencoder the mean squared error of its reconstruction; flips are predictions that differ"
        " from those of our float file; `float` counts operators that read or give floats, or convert. Latency is"
        f" taken in turns, in {INSTANCES} interpreters of each file, whose medians the intervals are drawn from. It"
        " compares files with each other and says nothing of the target: XNNPACK's int8 kernels for x86 without VNNI"
        " can be slower than its float ones."
        f"\n\n{_measure.table(headers, lines)}\n\n{held}\n" + "".join(f"\n- {note}" for note in notes)
    )
    where = _measure.origin("ai-edge-litert", "ai-edge-quantizer", "litert-torch", "torch")
    _measure.write("tflite", text, {"files": rows, "claims": claims, "notes": notes}, where, quick=quick)


if __name__ == "__main__":
    main()
