"""ResNet20 with weights that lose by rounding: quantization-aware training beside calibration alone.

    python benchmarks/suite/quantized_training.py [--quick] [--data FOLDER] [--target NAME] [--seeds N] [--epochs N]

Weights have one scale for each tensor, of 8 or of 4 bits (of the int8 that the runtime computes with, only 15 values
are then used). Everything else is as the target wants it. Accuracy is that of the artifacts in onnxruntime. A run that
was killed goes on from its checkpoints in out/quantized_training beside this file. Writes
results/quantized_training.md and quantized_training.json.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import _cifar
import _measure
import numpy as np

NETWORK = "resnet20_cifar10jpeg_derived"
METHODS: dict[str, dict[str, Any] | None] = {
    "calibration alone": None,
    "learned steps (LSQ)": {"method": "lsq"},
    "moving averages": {"method": "moving-average"},
    "learned steps, taught by the float network": {"method": "lsq", "distill": {}},
}
"""What follows `quantize` in the recipe."""
LEARNING_RATES = {8: 1e-5, 4: 3e-4}
"""Adam's. With 8 bits there is next to nothing to win back, and a large rate loses what the network knows."""
BATCH = 100


@dataclass
class Row:
    """One way to four or eight bits; `correct` (seeds, images): which images the artifacts get right."""

    bits: int
    how: str
    correct: _measure.Numbers = field(default_factory=lambda: np.zeros((0, 0)))
    minutes: float = 0.0
    """Of the slowest seed; of what was resumed, only the rest counts."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, little training, fewer images")
    _cifar.add_data_option(parser)
    parser.add_argument("--target", default="x86-avx512-vnni")
    parser.add_argument("--seeds", type=int, help="how many (default 3)")
    parser.add_argument("--epochs", type=int, help="of training (default 2)")
    options = parser.parse_args()
    _cifar.end_without(options.data)
    options.seeds = options.seeds or (1 if options.quick else 3)
    options.epochs = options.epochs or (1 if options.quick else 2)
    options.images, options.train_images = (2000, 3000) if options.quick else (10_000, 10_000)
    samples = _cifar.Samples(options.data, "test")
    baseline = float32(samples, options)
    rows = [Row(bits, how) for bits in (8, 4) for how in METHODS]
    for row in rows:
        measure(row, samples, options)
        print(f"{row.bits} bits, {row.how}: {row.correct.mean():.2%}, {row.minutes:.1f} min", file=sys.stderr)
    write(rows, baseline, options)


def float32(samples: _cifar.Samples, options: argparse.Namespace) -> float:
    """The accuracy of the float network, in torch."""
    import torch

    network, hits = _cifar.network(options.data, NETWORK), []
    with torch.no_grad():
        for images, labels in samples.arrays(BATCH, options.images):
            hits.append(network(torch.from_numpy(images)).argmax(1).numpy() == labels)
    return float(np.mean(np.concatenate(hits)))


def measure(row: Row, samples: _cifar.Samples, options: argparse.Namespace) -> None:
    """The row has its figures. Calibration knows no seed."""
    correct = []
    for seed in range(options.seeds if METHODS[row.how] else 1):
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            session = artifact(row, seed, options, Path(folder))
            row.minutes = max(row.minutes, (time.monotonic() - start) / 60)
            found = _measure.predictions(session, samples.arrays(BATCH, options.images))
        correct.append(found == samples.labels[: options.images])
    row.correct = np.stack(correct)


def artifact(row: Row, seed: int, options: argparse.Namespace, out: Path) -> Any:
    """A session of what a recipe with mode static, or qat with the row's options, makes of the network."""
    from edgewright.ir.state import InputSpec, ModelState
    from edgewright.passes import ALL, manager
    from edgewright.recipe.quantization import Quantize
    from edgewright.recipe.schema import Compress, Recipe
    from edgewright.runtimes.onnxruntime import OnnxEmitter

    train, emitter, target = METHODS[row.how], OnnxEmitter(), variant(row.bits, options.target)
    length = {"epochs": options.epochs, "learning_rate": LEARNING_RATES[row.bits]}
    asked: dict[str, Any] = {"mode": "static"} if train is None else {"mode": "qat", "train": {**train, **length}}
    recipe: Any = Recipe.model_construct(compress=Compress(quantize=Quantize.model_validate(asked)))
    state = ModelState((InputSpec("image", (None, 3, 32, 32)),), module=_cifar.network(options.data, NETWORK))
    for step in manager.plan(recipe, target, ALL, emitter.name, emitter.needs).steps:
        state = manager.run(step.step, state, context(seed, options))
    return _measure.session(out / emitter.emit(state, target, out).main)


def variant(bits: int, name: str) -> Any:
    """The target with one scale for each weight, on which it has so many bits."""
    from edgewright.targets import load_target

    target = load_target(name)
    int8 = target.quantization.int8_static
    if int8 is None:
        sys.exit(f"{name} has no static int8 kernels")
    changed = int8.model_copy(update={"weight_bits": bits, "weight_granularity": "per-tensor"})
    quantization = target.quantization.model_copy(update={"int8_static": changed})
    return target.model_copy(update={"quantization": quantization})


def context(seed: int, options: argparse.Namespace) -> Any:
    from edgewright.passes.contract import Context

    plain, augmented = (_cifar.Samples(options.data, "train", augmented=which) for which in (False, True))
    scratch = _measure.OUT / "quantized_training"
    scratch.mkdir(parents=True, exist_ok=True)
    data: Any = _cifar.Splits(plain, train=augmented.subset(range(options.train_images)))
    return Context(data, "classification", seed, scratch, lambda text: None)


def write(rows: list[Row], baseline: float, options: argparse.Namespace) -> None:
    """The table, with what was done and the machine that it belongs to."""
    lines, stored = [], []
    for row in rows:
        by_seed, alone = row.correct.mean(1), next(other for other in rows if other.bits == row.bits)
        spread = f"{100 * float(np.std(by_seed, ddof=1)):.2f}" if len(by_seed) > 1 else ""
        gain = 100 * (float(row.correct.mean()) - float(alone.correct.mean()))
        seeds = " ".join(f"{part:.2%}" for part in by_seed)
        of_float = 100 * (float(row.correct.mean()) - baseline)
        figures = [
            seeds,
            f"{row.correct.mean():.2%}",
            spread,
            f"{of_float:+.2f}",
            "" if row is alone else f"{gain:+.2f}",
        ]
        lines.append([str(row.bits), row.how, *figures, f"{row.minutes:.1f}"])
        stored.append({"bits": row.bits, "how": row.how, "top1": by_seed.tolist(), "minutes": row.minutes})
    headers = ["bits", "how", "top-1 by seed", "top-1", "deviation of seeds, points"]
    headers += ["to float32, points", "to calibration alone, points", "minutes"]
    text = (
        f"{NETWORK} ({baseline:.2%} in float32), weights with one scale for each tensor, all else as {options.target}"
        f" wants it; {options.epochs} epochs of {options.train_images} images (AdamW, a rate of"
        f" {LEARNING_RATES[8]:g} for 8 bits and of {LEARNING_RATES[4]:g} for 4); {options.images} test images in"
        f" onnxruntime.\n\n{_measure.table(headers, lines)}"
    )
    _measure.write("quantized_training", text, stored, _measure.origin("onnxruntime", "torch"), quick=options.quick)


if __name__ == "__main__":
    main()
