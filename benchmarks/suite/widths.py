"""How onnxruntime's latency follows the width of convolutions, in float32 and INT8: what `channel_multiple` rests on.

    python benchmarks/suite/widths.py [--quick]

For each kind of convolution, a chain of four of the same width, random weights, is emitted in float32 and quantized
by edgewright's passes; all take turns in one thread. A width is *wasted* where a wider one is no slower: pruning to
it gives accuracy away for nothing. Writes results/widths.md and widths.json beside this file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _measure
import numpy as np

SAMPLES = 64
"""Calibration samples."""
KERNELS = {3: (32, 16, 8), 1: (32, 16)}
"""Kernel sizes, each with the sides of the feature maps that it is timed on."""
PRECISIONS = ("float32", "INT8")
DEPTH, SMALLEST, LARGEST = 4, 8, 72
REMAINDERS = (0, 3, 4, 6, 7)
"""Widths are taken that leave these remainders when divided by 8."""
NO_SLOWER = 1.02
"""Latencies nearer than this are not told apart."""
CLASSES = ("multiples of 16", "of 8", "of 4", "of 2", "odd")
KNOTS = (16, 32, 48, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer kinds, widths and rounds")
    parser.add_argument("--target", default="x86-avx2", help="the profile that says how INT8 looks")
    options = parser.parse_args()
    kernels = {3: (16, 8)} if options.quick else KERNELS
    widths = [
        width
        for width in range(SMALLEST, LARGEST + 1)
        if width % 8 in (REMAINDERS[::2] if options.quick else REMAINDERS)
    ]
    rows = [row for kernel, sides in kernels.items() for row in swept(kernel, sides, widths, options)]
    text = (
        f"Latency and width of convolutions in onnxruntime, one thread; INT8 as {options.target} wants it. For widths"
        f" from {KNOTS[0]} to {KNOTS[-1] - 1}: median latency beside that of multiples of 16, in a straight line"
        " between them, and in brackets how many widths are wasted: a wider one is no slower.\n\n"
        f"{summary(rows)}\n\nns per 1000 multiply-accumulates:\n\n{excerpt(rows)}"
    )
    _measure.write("widths", text, rows, _measure.origin("onnxruntime", "torch"), quick=options.quick)


def swept(
    kernel: int, sides: Sequence[int], widths: Sequence[int], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """A row for each width and precision on each side of the feature map; those of one side were timed in turns."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for width in widths:
            files.update(emitted(kernel, max(sides), width, options.target, Path(folder)))
            print(f"{kernel}x{kernel}: width {width} of {widths[-1]} emitted", file=sys.stderr)
        for side in sides:
            image = np.random.default_rng(0).normal(size=(1, 3, side, side)).astype(np.float32)
            sessions = [resized(file, side) for file in files.values()]
            times = _measure.in_turns(sessions, image, 40 if options.quick else 100)
            for (width, precision), latencies in zip(files, times, strict=True):
                kind, ns = f"{kernel}x{kernel}, {side}x{side}", float(np.median(latencies))
                rows.append({"kind": kind, "precision": precision, "width": width, "ns": ns})
                rows[-1]["ns_per_1000_macs"] = 1000 * ns / (DEPTH * (width * kernel * side) ** 2)
    return rows


def emitted(kernel: int, side: int, width: int, target_name: str, out: Path) -> dict[tuple[int, str], Path]:
    """The chain's ONNX file in each precision."""
    from edgewright.ir.state import InputSpec, ModelState
    from edgewright.passes import manager
    from edgewright.passes.calibrate import Calibrate
    from edgewright.passes.contract import Context
    from edgewright.passes.export import Export
    from edgewright.passes.fold_batchnorm import FoldBatchnorm
    from edgewright.passes.insert_quantization import InsertQuantization
    from edgewright.recipe.quantization import Calibration, Quantize
    from edgewright.recipe.schema import Compress, Recipe
    from edgewright.runtimes.onnxruntime import OnnxEmitter
    from edgewright.targets import load_target

    target = load_target(target_name)
    data: Any = _measure.Noise((1, 3, side, side), SAMPLES)
    context = Context(data, "classification", 0, out, lambda text: None)
    quantize = Quantize(calibration=Calibration(method="min-max", samples=SAMPLES))
    recipe: Any = Recipe.model_construct(compress=Compress(quantize=quantize))
    state = ModelState((InputSpec("image", (1, 3, side, side)),), module=chain(kernel, width))
    files = {}
    steps: dict[str, list[Any]] = {"float32": [Export(), FoldBatchnorm()]}
    steps["INT8"] = [kind.for_target(target, recipe) for kind in (Calibrate, InsertQuantization)]
    for precision in PRECISIONS:
        for step in steps[precision]:
            state = manager.run(step, state, context)
        folder = out / f"{width}-{precision}"
        folder.mkdir()
        files[width, precision] = folder / OnnxEmitter().emit(state, target, folder).main
    return files


def resized(file: Path, side: int) -> Any:
    """A session of the same network for images of another size, whatever size it was emitted for."""
    import onnx

    model = onnx.load(file)
    for size in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        size.dim_value = side
    del model.graph.value_info[:]
    other = file.with_name(f"{side}.onnx")
    onnx.save(model, other)
    return _measure.session(other)


def chain(kernel: int, width: int) -> Any:
    """A first convolution to `width` channels, DEPTH from `width` to `width`, and ten outputs."""
    import torch
    from torch import nn

    torch.manual_seed(width)
    layers: list[nn.Module] = [nn.Conv2d(3, width, 1), nn.ReLU()]
    for _ in range(DEPTH):
        layers += [nn.Conv2d(width, width, kernel, padding=kernel // 2), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)).eval()


def class_of(width: int) -> str:
    """The largest power of two, up to 16, that divides the width."""
    divisors = (16, 8, 4, 2, 1)
    return CLASSES[next(index for index, divisor in enumerate(divisors) if width % divisor == 0)]


def summary(rows: list[dict[str, Any]]) -> str:
    """For each class of widths from 16 up: latency beside the multiples of 16, and how many widths are wasted."""
    lines = []
    for kind, precision in dict.fromkeys((row["kind"], row["precision"]) for row in rows):
        latencies = {row["width"]: row["ns"] for row in rows if (row["kind"], row["precision"]) == (kind, precision)}
        line = [kind, precision]
        for name in CLASSES:
            widths = [width for width in latencies if class_of(width) == name and KNOTS[0] <= width < KNOTS[-1]]
            beside = [latencies[width] / interpolated(latencies, width) for width in widths]
            wasted = sum(is_wasted(latencies, width) for width in widths)
            line.append(f"{np.median(beside):.2f} ({wasted} of {len(widths)})" if widths else "not taken")
        small = [str(width) for width in latencies if width < KNOTS[0] and is_wasted(latencies, width)]
        lines.append([*line, " ".join(small) or "none"])
    headers = ["convolution", "precision", *CLASSES, f"wasted below {KNOTS[0]}"]
    return _measure.table(headers, lines)


def interpolated(latencies: dict[int, float], width: int) -> float:
    """The latency that the multiples of 16 would have between them, by a straight line."""
    return float(np.interp(width, KNOTS, [latencies[knot] for knot in KNOTS]))


def is_wasted(latencies: dict[int, float], width: int) -> bool:
    """Whether a wider one is no slower."""
    return any(ns <= latencies[width] * NO_SLOWER for wider, ns in latencies.items() if wider > width)


def excerpt(rows: list[dict[str, Any]]) -> str:
    """Nanoseconds per thousand multiply-accumulates at neighbouring widths."""
    shown = [width for width in by_width(rows) if 14 <= width <= 32 or (width >= 62 and width <= 64) or width == 48]
    lines = []
    for kind, precision in dict.fromkeys((row["kind"], row["precision"]) for row in rows):
        own = by_width([row for row in rows if (row["kind"], row["precision"]) == (kind, precision)])
        lines.append([kind, precision, *(f"{own[width]['ns_per_1000_macs']:.1f}" for width in shown)])
    return _measure.table(["convolution", "precision", *map(str, shown)], lines)


def by_width(rows: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    return {row["width"]: row for row in rows}


if __name__ == "__main__":
    main()
