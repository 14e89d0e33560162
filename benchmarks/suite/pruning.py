"""ResNet20 at half its multiply-accumulates and in INT8: edgewright's ways of pruning beside torch-pruning's.

    python benchmarks/suite/pruning.py [--quick] [--data FOLDER] [--target NAME] [--seeds N] [--epochs N]

All pruned networks get the same recovery (edgewright's training loop), then the same quantization and emission.
Accuracy is that of the artifacts in
onnxruntime, latency is taken in turns in one thread. A run that was killed goes on from its checkpoints in out/pruning
beside this file. Writes results/pruning.md and pruning.json.
"""

from __future__ import annotations

import argparse
import bisect
import copy
import sys
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import _cifar
import _measure
import numpy as np
from _pruning_table import Prune, Row, write

NETWORK, PART = "resnet20_cifar10jpeg_derived", 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, little training, fewer images")
    _cifar.add_data_option(parser)
    parser.add_argument("--target", default="x86-avx2")
    parser.add_argument("--seeds", type=int, help="how many (default 3)")
    parser.add_argument("--epochs", type=float, help="of recovery (default 1)")
    options = parser.parse_args()
    _cifar.end_without(options.data)
    options.seeds = options.seeds or (1 if options.quick else 3)
    options.epochs = options.epochs or (0.1 if options.quick else 1.0)
    options.images = 2000 if options.quick else 10_000
    rows = [Row("not pruned", "float32", quantized=False), Row("not pruned", "INT8")]
    half: dict[str, Any] = {"flops": PART}
    ours = [Row("edgewright", criterion, by_edgewright(**half, criterion=criterion)) for criterion in ("l2", "taylor")]
    theirs = [
        Row("torch-pruning", "all layers but the last", by_torch_pruning(only_inner=False)),
        Row("torch-pruning", "first convolutions of blocks only", by_torch_pruning(only_inner=True)),
    ]
    rows += [*ours, *theirs]
    measure(rows, options)
    said = (
        f"{NETWORK}, half its multiply-accumulates pruned,"
        f" {options.epochs:g} epochs of recovery on 10,000 images (AdamW, the same for all), INT8 as"
        f" {options.target} wants it; {options.images} test images; one thread, in turns."
    )
    write(said, rows, ours, theirs, quick=options.quick)


def measure(rows: list[Row], options: argparse.Namespace) -> None:
    """Every row has its figures."""
    network, samples = _cifar.network(options.data, NETWORK), _cifar.Samples(options.data, "test")
    sessions = []
    with tempfile.TemporaryDirectory() as folder:
        for number, row in enumerate(rows):
            pruned = row.prune(copy.deepcopy(network), options) if row.prune else state_of(network)
            row.widths, row.macs = widths(pruned.module), macs(pruned.module) / macs(network)
            row.at_once = accuracy(pruned.module, samples) if row.prune else None
            seeds = range(options.seeds if row.prune else 1)
            files = [artifact(row, pruned, seed, options, Path(folder) / f"{number}-{seed}") for seed in seeds]
            row.kib = (files[0].stat().st_size / 1024, len(zlib.compress(files[0].read_bytes())) / 1024)
            own = [_measure.session(file) for file in files]
            row.correct = np.stack([correct(runner, samples, options.images) for runner in own])
            sessions.append(own[0])
            print(f"{row.name}: {row.widths}: {np.mean(row.correct):.2%}", file=sys.stderr)
    image = next(samples.arrays(1, 1))[0]
    for row, times in zip(rows, _measure.in_turns(sessions, image, 200 if options.quick else 1000), strict=True):
        row.times = times


def by_edgewright(**keys: Any) -> Prune:
    """What a recipe with `prune: {keys}` does on the target, all else at its defaults."""

    def prune(network: Any, options: argparse.Namespace) -> Any:
        from edgewright.passes.prune_channels import PruneChannels
        from edgewright.recipe.pruning import Prune as Asked
        from edgewright.recipe.schema import Compress, Recipe
        from edgewright.targets import load_target

        recipe: Any = Recipe.model_construct(compress=Compress(prune=Asked(**keys)))
        step: Any = PruneChannels.for_target(load_target(options.target), recipe)
        return step.run(state_of(network), context(options, scratch(), 0))

    return prune


def by_torch_pruning(*, only_inner: bool) -> Prune:
    """torch-pruning's MagnitudePruner with group norms, at the ratio that comes nearest to half the MACs.

    `only_inner`: what a careful user does for a network whose shortcuts slice and pad: only the channels within the
    blocks go, so that all the others are in the pruner's `ignored_layers`. Otherwise it takes the same channel numbers
    from every stage (seen with 1.6.1), although the shortcuts pad: what is left no longer meets its counterpart, and
    the network guesses until it is trained again.
    """

    def at_ratio(network: Any, ratio: float) -> Any:
        import torch
        import torch_pruning

        pruned = copy.deepcopy(network)
        ignored = [pruned.linear]
        if only_inner:
            blocks = [block for stage in (pruned.layer1, pruned.layer2, pruned.layer3) for block in stage]
            ignored += [pruned.conv1, *(block.conv2 for block in blocks)]
        pruner = torch_pruning.pruner.MagnitudePruner(
            pruned,
            torch.zeros(1, 3, 32, 32),
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=ratio,
            ignored_layers=ignored,
        )
        pruner.step()
        return pruned

    def prune(network: Any, options: argparse.Namespace) -> Any:
        whole = macs(network)
        percents = range(20, 71)
        first = bisect.bisect_left(percents, -PART, key=lambda percent: -macs(at_ratio(network, percent / 100)) / whole)
        tried = [at_ratio(network, percent / 100) for percent in percents[max(0, first - 1) : first + 1]]
        return state_of(min(tried, key=lambda pruned: abs(macs(pruned) / whole - PART)))

    return prune


def artifact(row: Row, pruned: Any, seed: int, options: argparse.Namespace, out: Path) -> Path:
    """The file of what becomes of the network: recovered where it was pruned, quantized where the row says so."""
    from edgewright.passes import manager
    from edgewright.passes.calibrate import Calibrate
    from edgewright.passes.export import Export
    from edgewright.passes.fold_batchnorm import FoldBatchnorm
    from edgewright.passes.insert_quantization import InsertQuantization
    from edgewright.recipe.quantization import Quantize
    from edgewright.recipe.schema import Compress, Recipe
    from edgewright.runtimes.onnxruntime import OnnxEmitter
    from edgewright.targets import load_target

    out.mkdir()
    target = load_target(options.target)
    recipe: Any = Recipe.model_construct(compress=Compress(quantize=Quantize() if row.quantized else None))
    state = recovered(pruned, seed, options) if row.prune else pruned
    steps: list[Any] = [Export(), FoldBatchnorm()]
    steps += [kind.for_target(target, recipe) for kind in (Calibrate, InsertQuantization) if row.quantized]
    for step in steps:
        state = manager.run(step, state, context(options, out, seed))
    return out / OnnxEmitter().emit(state, target, out).main


def recovered(pruned: Any, seed: int, options: argparse.Namespace) -> Any:
    """A trained copy; a run stored in out/ under its weights, options and seed is gone on with."""
    from edgewright.ir.progress import Silent
    from edgewright.training.loop import TrainingOptions, train

    how = TrainingOptions(
        epochs=options.epochs,
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=1e-4,
        batch_size=64,
        warmup=0.05,
        patience=None,
    )
    network = copy.deepcopy(pruned.module)
    where: dict[str, Any] = {"scratch": scratch(), "progress": Silent()}
    train(network, splits(options), "classification", how, seed=seed, **where)
    return replace(pruned, module=network)


def scratch() -> Path:
    folder = _measure.OUT / "pruning"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def splits(options: argparse.Namespace) -> Any:
    """The images of the train split, augmented where they are trained on."""
    plain, augmented = _cifar.Samples(options.data, "train"), _cifar.Samples(options.data, "train", augmented=True)
    return _cifar.Splits(plain, train=augmented)


def context(options: argparse.Namespace, scratch: Path, seed: int) -> Any:
    from edgewright.passes.contract import Context

    return Context(splits(options), "classification", seed, scratch, lambda text: None)


def state_of(network: Any) -> Any:
    from edgewright.ir.state import InputSpec, ModelState

    return ModelState((InputSpec("image", (1, 3, 32, 32)),), module=network)


def correct(runner: Any, samples: _cifar.Samples, count: int) -> _measure.Numbers:
    return _measure.predictions(runner, samples.arrays(1, count)) == samples.labels[:count]


def accuracy(network: Any, samples: _cifar.Samples, count: int = 2000) -> float:
    import torch

    hits = []
    with torch.no_grad():
        for images, labels in samples.arrays(500, count):
            hits.append(network(torch.from_numpy(images)).argmax(1).numpy() == labels)
    return float(np.mean(np.concatenate(hits)))


def widths(network: Any) -> str:
    """The widths of the convolutions of each stage, those within the blocks after those between them; 0: no block."""

    def width(block: Any, layer: str) -> int:
        found = dict(block.named_children()).get(layer)
        return found.out_channels if found else 0

    stages = (network.layer1, network.layer2, network.layer3)
    inner = ["/".join(str(width(block, "conv1")) for block in stage) for stage in stages]
    outer = [max(width(block, "conv2") for block in stage) for stage in stages]
    return " ".join(f"{width}({own})" for width, own in zip(outer, inner, strict=True))


def macs(network: Any) -> float:
    import torch
    from edgewright.channels.costs import count_macs

    return count_macs(network, (torch.zeros(1, 3, 32, 32),))


if __name__ == "__main__":
    main()
