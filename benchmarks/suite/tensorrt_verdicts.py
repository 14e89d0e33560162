"""What NVIDIA's own parser and builder make of our TensorRT artifacts: accepted or not, and each layer's type.

    pip install 'edgewright[nvidia-rtx]'
    pip install --no-deps --target FOLDER torchvision==0.28.0 pillow
    python benchmarks/suite/tensorrt_verdicts.py [--torchvision FOLDER] [--data FOLDER] [--quick] [--network NAME]...

TensorRT for RTX builds engines where no GPU is; nothing is run, and nothing is timed but the build. Networks of
torchvision have random weights (`_torchvision.py`), those of CIFAR-10 are trained ones of the second FOLDER, which the
README's section on benchmarks tells of; `digits` is the example's, and needs nothing. Every network is quantized as
the profile wants it and built for each profile of TensorRT for RTX: in INT8 and float16, in float16 throughout and,
which no build writes, in bfloat16, and with FP8 in place of INT8. Writes results/tensorrt_verdicts.json and .md beside
this file.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _cifar
import _measure
import _other_types
import _torchvision

TARGETS = ("nvidia-rtx-ampere", "nvidia-rtx-ada", "nvidia-rtx-blackwell")
DIGITS = "digits"
EVERY_TARGET = (*TARGETS, "nvidia-jetson-orin", "nvidia-hopper", "nvidia-t4")
"""Of the last three, which TensorRT 10 builds for, the builder is asked about the next GPU below, or about none."""
OF_CIFAR = ("resnet20_cifar10jpeg_derived", "resnet56_cifar10")
OF_TORCHVISION = ("mobilenet_v2", "resnet50", "efficientnet_b0")
NETWORKS = (DIGITS, *OF_CIFAR, *OF_TORCHVISION)
QUICK = (DIGITS,)
OTHERS = ("fp16", "bf16", "fp8")
EXAMPLE = Path(__file__).parents[2] / "examples" / "digits" / "recipe.yaml"
SAMPLES = 8
LEGEND = (
    "The model: INT8, with float16 around it. Built for: the compute capability that the builder was asked about. fp16,"
    " bf16, fp8: whether it builds the same network so; a dash where it refuses, as the profile says, or is not asked."
    " Why each other layer is not wanted in INT8 stands in the JSON file. No engine was run."
)
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one network, kept in out/")
    parser.add_argument("--torchvision", type=Path, metavar="FOLDER", help="where it was installed")
    parser.add_argument("--network", action="append", choices=NETWORKS)
    _cifar.add_data_option(parser)
    options = parser.parse_args()
    from edgewright.runtimes.tensorrt_build import verdict

    if not verdict.is_installed():
        print(f"not run: TensorRT for RTX is not installed; {verdict.HOW}")
        return
    wanted = options.network or (QUICK if options.quick else NETWORKS)
    rows = verdicts(DIGITS, example(), 32, channels=1, targets=EVERY_TARGET) if DIGITS in wanted else []
    if any(name in OF_CIFAR for name in wanted):
        _cifar.end_without(options.data)
    for name in (name for name in OF_CIFAR if name in wanted):
        rows += verdicts(name, _cifar.network(options.data, name), 32)
    if large := [name for name in wanted if name in OF_TORCHVISION]:
        models = _torchvision.import_models(options.torchvision)
        for name in large:
            rows += verdicts(name, _torchvision.network(models, name), _torchvision.SIDE)
    write(rows, options.quick)


def example() -> Any:
    """The network of examples/digits, with its trained weights."""
    from edgewright.recipe import schema, source

    return source.load_model(schema.load_recipe(EXAMPLE))


def verdicts(name: str, network: Any, side: int, channels: int = 3, targets: tuple[str, ...] = TARGETS) -> list[Row]:
    """A row for each profile; the network is quantized once, for all of them want the same."""
    from edgewright.ir.errors import StepError
    from edgewright.targets import load_target

    state, rows = quantized(network, side, channels), []
    for target in map(load_target, targets):
        with tempfile.TemporaryDirectory(prefix="edgewright-verdicts-") as folder:
            start = time.perf_counter()
            try:
                row = judged(state, target, Path(folder))
            except StepError as error:
                row = {"error": str(error)}
            rows.append({"network": name, "target": target.name, "seconds": time.perf_counter() - start, **row})
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return rows


def judged(state: Any, target: Any, folder: Path) -> Row:
    """What the emitter and the builder say of the network."""
    from edgewright.runtimes import emitter

    emitted = emitter(target.runtime).emit(state, target, folder)
    document = json.loads((folder / "verdict.json").read_text())
    said = document["builder"]
    return {
        "version": said["version"],
        "built_for": said["built_for"],
        "is_built": said["is_built"],
        "layers": emitted.coverage.eligible,
        "wanted": len(document["int8_wanted"]),
        "int8": len(said["int8"]),
        "in_float": said["in_float"],
        "left": dict(emitted.coverage.left),
        "warnings": len(said["warnings"]),
        "findings": len(document["linter"]),
        "model_bytes": emitted.total_bytes,
        "engine_bytes": said["engine_bytes"],
        "others": {kind: in_type(kind, document, target, folder) for kind in OTHERS},
    }


def in_type(kind: str, document: Any, target: Any, folder: Path) -> bool | None:
    """Whether the builder builds the network in another type; None where it refuses what the profile does not have.

    None, too, where it is asked nothing.
    """
    from edgewright.runtimes.tensorrt_build import settings, verdict

    built_for = settings.stand_in(target.gpu)
    if not built_for:
        return None
    if kind == "fp16":
        return bool(document["beside"]["model.fp16.onnx"]["is_built"])
    file = folder / f"model.{kind}.onnx"
    convert = _other_types.to_bfloat16 if kind == "bf16" else _other_types.to_fp8
    convert(folder / ("model.fp16.onnx" if kind == "bf16" else "model.int8.onnx"), file)
    asked = settings.Settings(file.name, {}, (), built_for, target.gpu.runtime_line, build_for=built_for)
    found = verdict.ask(asked, folder)
    return None if not found.is_built and kind not in target.gpu.precisions else found.is_built


def quantized(network: Any, side: int, channels: int = 3) -> Any:
    """The network's state behind the passes of a plan for static INT8."""
    from edgewright.ir.state import InputSpec, ModelState
    from edgewright.passes import manager
    from edgewright.passes.contract import Context
    from edgewright.pipeline.planning import plan
    from edgewright.recipe import quantization, schema
    from edgewright.targets import load_target

    calibration = quantization.Calibration(method="min-max", samples=SAMPLES)
    recipe: Any = schema.Recipe.model_construct(
        model=schema.Model.model_construct(inputs={"image": schema.Input(shape=(1, channels, side, side))}),
        compress=schema.Compress(quantize=quantization.Quantize(calibration=calibration)),
    )
    shape = (1, channels, side, side)
    data: Any = _torchvision.Noise(side, SAMPLES) if channels == 3 else _measure.Noise(shape, SAMPLES)
    context = Context(data, "classification", 0, Path(tempfile.gettempdir()), lambda text: None)
    state = ModelState((InputSpec("image", (1, channels, side, side)),), module=network.eval())
    for planned in plan(recipe, load_target(TARGETS[0])).steps:
        state = manager.run(planned.step, state, context, next(data.batches(1)).inputs)
    return state


def write(rows: list[Row], is_quick: bool) -> None:
    """The results as JSON and as a table."""
    counted = "INT8 by the builder's log"
    headers = ["network", "profile", "built for", "verdict", counted, "wanted", "of", "model", "engine", *OTHERS]
    text = _measure.table(headers, [line(row) for row in rows])
    text += f"\n\n{LEGEND}"
    made = _measure.origin("onnx", "torch", "tensorrt-rtx-cu13-bindings")
    _measure.write("tensorrt_verdicts", text, rows, made, quick=is_quick)


def line(row: Row) -> list[str]:
    if "error" in row:
        return [row["network"], row["target"], "", row["error"], *[""] * (5 + len(OTHERS))]
    verdict = "not asked" if not row["built_for"] else "builds" if row["is_built"] else "refused"
    counts = [str(row["int8"]) if row["built_for"] else "-", *(str(row[key]) for key in ("wanted", "layers"))]
    sizes = [f"{row[key] / 2**20:.1f} MiB" if row[key] else "-" for key in SIZES]
    others = ["-" if row["others"][kind] is None else "builds" if row["others"][kind] else "refused" for kind in OTHERS]
    return [row["network"], row["target"], row["built_for"] or "-", verdict, *counts, *sizes, *others]


SIZES = ("model_bytes", "engine_bytes")

if __name__ == "__main__":
    main()
