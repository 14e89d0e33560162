"""Number formats on three runtimes: what each costs in accuracy, flips and size, gains in latency, or is refused for.

    python benchmarks/suite/forms.py [--quick] [--data FOLDER] [--recording FILE] [--network NAME]... [--only TEXT]
                                     [--table]

Every network in every form, as a recipe that asks for it gets it, calibrated on 256 samples, with nothing trained; each
is compared with the float32 artifact of the same runtime. TFLite's latencies are those of this machine; TensorRT's rows
are plans alone, as there is no GPU. Each finished row is kept in out/forms beside this file with its artifact, and the
table is of what is there. Writes results/forms.md and forms.json.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import _cifar
import _measure
import _mlperf
import numpy as np
from _form_rows import FLOAT, FORMS, NETWORKS, RUNTIMES, TRANSFORMERS
from _tflite_files import File
from _tflite_networks import Case, inputs, judged

PLANNED_ONLY = "TensorRT"
REFUSED, PLANNED = "refused", "planned"


@dataclass(frozen=True)
class Row:
    """One network in one form on one runtime: refused with a reason, only planned, or built and run."""

    network: str
    form: str
    runtime: str
    verdict: str
    why: str = ""
    score: float = 0.0
    flips: float | None = None
    sqnr_db: float | None = None
    """Of the outputs, beside those of the float32 artifact."""
    kib: float = 0.0
    compressed_kib: float = 0.0

    @property
    def is_built(self) -> bool:
        return not self.verdict


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer samples")
    _cifar.add_data_option(parser)
    parser.add_argument("--recording", type=Path, help="a recording for anomaly detection")
    parser.add_argument("--network", action="append", choices=tuple(NETWORKS))
    parser.add_argument("--only", default="", metavar="TEXT", help="make only forms with the text in their names")
    parser.add_argument("--table", action="store_true", help="make no row, only the table of those that are there")
    options = parser.parse_args()
    _cifar.end_without(options.data)
    recording = options.recording or options.data / "mlperf_tiny" / "ad" / _mlperf.RECORDING
    rows: list[Row] = []
    times: dict[tuple[str, str, str], _measure.Numbers] = {}
    notes = []
    for name in options.network or NETWORKS:
        try:
            case = NETWORKS[name](options.data, recording)
        except FileNotFoundError as error:
            notes.append(f"{name}: not run, there is no {Path(error.filename).name}")
            continue
        notes += [f"{name}: {case.note}"] if case.note else []
        for runtime in RUNTIMES:
            found = [row for form in FORMS if (row := row_of(case, form, runtime, options)) is not None]
            times.update(timed(case, runtime, [row for row in found if row.is_built], options))
            rows += found
    write(rows, times, notes, options)


def row_of(case: Case, form: str, runtime: str, options: argparse.Namespace) -> Row | None:
    """The row, made now or found among the finished ones; None where it is not made and shall not be."""
    folder = folder_of(case, form, runtime, options)
    kept = folder / "row.json"
    if kept.is_file():
        return Row(**json.loads(kept.read_text()))
    if options.table or (options.only not in form and form != FLOAT):
        return None
    folder.mkdir(parents=True, exist_ok=True)
    row = made(case, form, runtime, folder, options)
    partial = folder / "row.partial"
    partial.write_text(json.dumps(asdict(row)))
    partial.rename(kept)
    told = row.verdict or f"{row.score:.4g}"
    print(f"{case.name}, {runtime}, {form}: {told}", file=sys.stderr, flush=True)
    return row


def folder_of(case: Case, form: str, runtime: str, options: argparse.Namespace) -> Path:
    """Where the row's artifact, answers and figures are kept."""
    asked = json.dumps([compress_of(case, form, runtime), RUNTIMES[runtime], count_of(case, options)], sort_keys=True)
    name = f"{form.replace(',', '').replace(' ', '-')}-{hashlib.sha256(asked.encode()).hexdigest()[:8]}"
    return _measure.OUT / "forms" / case.name / runtime / name


def compress_of(case: Case, form: str, runtime: str) -> dict[str, Any]:
    """What the recipe asks for: on an integer target a transformer has to let its normalizations stay in float."""
    asked = {key: dict(value) for key, value in FORMS[form].items()}
    quantize = asked.get("quantize")
    is_static = quantize is not None and not {"mode", "precision"} & set(quantize)
    if quantize is not None and is_static and case.name in TRANSFORMERS and runtime == "TFLite":
        quantize["allow_float"] = True
    return asked


def count_of(case: Case, options: argparse.Namespace) -> int:
    """How many samples judge the artifacts."""
    return min(len(case.evaluation), 500 if options.quick else len(case.evaluation))


def made(case: Case, form: str, runtime: str, folder: Path, options: argparse.Namespace) -> Row:
    """The row: planned, and where the runtime runs here built and run."""
    from edgewright.ir.errors import EdgewrightError
    from edgewright.passes import ALL, manager
    from edgewright.recipe.schema import Compress, Recipe
    from edgewright.runtimes import emitter
    from edgewright.targets import load_target

    target = load_target(RUNTIMES[runtime])
    emits: Any = emitter(target.runtime)
    recipe: Any = Recipe.model_construct(compress=Compress.model_validate(compress_of(case, form, runtime)))
    row = functools.partial(Row, case.name, form, runtime)
    try:
        plan = manager.plan(recipe, target, ALL, emits.name, emits.needs)
        if plan.skips:
            return row(REFUSED, "; ".join(skip.why for skip in plan.skips))
        if runtime == PLANNED_ONLY:
            return row(PLANNED, "; ".join(plan.remarks))
        emitted = built(case, plan, target, emits, folder)
    except EdgewrightError as error:
        return row(REFUSED, _short(str(error)))
    count, main = count_of(case, options), folder / emitted.main
    outputs = answers(main, case, count)
    np.save(folder / "outputs.npy", outputs)
    floats = outputs if form == FLOAT else np.load(folder_of(case, FLOAT, runtime, options) / "outputs.npy")
    is_other = form != FLOAT
    (folder / "main.txt").write_text(main.name)
    return row(
        verdict="",
        why="; ".join((*plan.remarks, *_in_float(emitted.coverage))),
        score=float(judged(case, outputs, count).mean()),
        flips=float((outputs.argmax(1) != floats.argmax(1)).mean()) if is_other and case.score == "top1" else None,
        sqnr_db=sqnr_db(outputs, floats) if is_other else None,
        kib=main.stat().st_size / 1024,
        compressed_kib=len(zlib.compress(main.read_bytes())) / 1024,
    )


def built(case: Case, plan: Any, target: Any, emitter: Any, folder: Path) -> Any:
    """What the emitter says of the artifact, made as the plan says."""
    from edgewright.devices.local import LocalDevice
    from edgewright.ir.state import InputSpec, ModelState
    from edgewright.passes import manager
    from edgewright.passes.contract import Context
    from edgewright.pipeline.measuring import measure_on

    data: Any = _cifar.Splits(case.calibration)
    dtype = str(next(case.calibration.arrays(1, 1))[0].dtype)
    state = ModelState((InputSpec("image", case.shape, dtype),), case.network())
    measure = measure_on(target, LocalDevice(), 1)
    context = Context(data, case.task, 0, folder, lambda text: None, measure=measure)
    for planned in plan.steps:
        state = manager.run(planned.step, state, context)
    return emitter.emit(state, target, folder)


def _in_float(coverage: Any) -> list[str]:
    """What computes in float in an artifact whose layers are in INT8."""
    operators = ", ".join(f"{count} {name}" for name, count in coverage.float_operators)
    return [f"in float: {operators}"] if coverage.quantized and operators else []


def runner_of(file: Path) -> Callable[[_measure.Numbers], _measure.Numbers]:
    """What gives the outputs (1, ...) of one input (1, ...), in one thread."""
    if file.suffix == ".tflite":
        loaded = File(file)
        return lambda values: loaded.answers(values)
    session = _measure.session(file)
    (name,) = (given.name for given in session.get_inputs())
    return lambda values: session.run(None, {name: values})[0]  # type: ignore[no-any-return]


def answers(file: Path, case: Case, count: int) -> _measure.Numbers:
    """The outputs (N, ...) for the first samples."""
    run = runner_of(file)
    return np.concatenate([run(each[None]) for each in inputs(case.evaluation, count)])


def sqnr_db(outputs: _measure.Numbers, floats: _measure.Numbers) -> float | None:
    """The power of the float outputs beside that of the difference, in dB; None where there is none."""
    noise = float(((outputs - floats) ** 2).sum())
    return 10 * float(np.log10((floats**2).sum() / noise)) if noise else None


def timed(
    case: Case, runtime: str, rows: list[Row], options: argparse.Namespace
) -> dict[tuple[str, str, str], _measure.Numbers]:
    """Nanoseconds of the rows' artifacts, taken in turns."""
    folders = [folder_of(case, row.form, runtime, options) for row in rows]
    values = inputs(case.evaluation, 1)
    calls = []
    for folder in folders:
        file = folder / (folder / "main.txt").read_text()
        if file.suffix == ".tflite":
            loaded = File(file)
            calls.append(functools.partial(loaded.run, loaded.stored(values)))
        else:
            calls.append(functools.partial(runner_of(file), values))
    taken = _measure.calls_in_turns(calls, 100 if options.quick else 1000)
    return {(case.name, row.form, runtime): each for row, each in zip(rows, taken, strict=True)}


def write(
    rows: list[Row], times: Mapping[tuple[str, str, str], _measure.Numbers], notes: list[str], options: Any
) -> None:
    """The table, with what was done and the machine that it belongs to."""
    lines, stored = [], []
    for row in rows:
        figures, speed = [""] * 7, {}
        if row.is_built:
            own, floats = times[row.network, row.form, row.runtime], times[row.network, FLOAT, row.runtime]
            ratio, low, high = _measure.ratio(own, floats)
            slower = "SLOWER than float" if low > 1 and row.form != FLOAT else ""
            figures = [
                f"{row.score:.2%}" if row.flips is not None or row.score <= 1 else f"{row.score:.4f}",
                "" if row.flips is None else f"{row.flips:.2%}",
                "" if row.sqnr_db is None else f"{row.sqnr_db:.1f}",
                f"{row.kib:.0f}",
                f"{row.compressed_kib:.0f}",
                f"{np.median(own) / 1e6:.4f}",
                f"{ratio:.3f} ({low:.3f} to {high:.3f})",
            ]
            speed = {"ms": float(np.median(own)) / 1e6, "of_float": [ratio, low, high]}
            told = "; ".join(filter(None, [slower, row.why if "in float" in row.why else ""]))
        else:
            told = f"{row.verdict}: {row.why}" if row.why else row.verdict
        lines.append([row.network, row.runtime, row.form, *figures, told])
        stored.append({**asdict(row), **speed})
    headers = ["network", "runtime", "form", "score", "flips", "SQNR, dB", "KiB", "by zlib", "ms", "of float's ms", ""]
    targets = ", ".join(f"{runtime} for {target}" for runtime, target in RUNTIMES.items())
    text = (
        f"{targets}. Score is top-1, or the mean square error of a reconstruction (mlperf_tiny_ad).\n\n"
        f"{_measure.table(headers, lines)}\n\n{'. '.join(notes)}"
    )
    _measure.write(
        "forms", text, stored, _measure.origin("onnxruntime", "ai-edge-litert", "torch"), quick=options.quick
    )


def _short(message: str) -> str:
    """The message in one line that fits a table."""
    line = " ".join(message.split()).replace("|", "/")
    return line if len(line) <= 240 else f"{line[:237]}..."


if __name__ == "__main__":
    main()
