"""ResNet20 at half its multiply-accumulates: trained on by its labels, or by what the whole network says.

    python benchmarks/suite/distillation.py [--quick] [--data FOLDER] [--target NAME] [--seeds N] [--epochs N]

Every row is the same pruned student with the same epochs, images and optimizer; accuracy is that of the float network
in torch on the test images. Each finished run is kept in out/distillation beside this file, and one that was killed
goes on from its checkpoints. Writes results/distillation.md and distillation.json.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _cifar
import _measure
import numpy as np
import pruning

LAYERS = ("layer1", "layer2", "layer3")
BASE = "labels (recover)"
WAYS: dict[str, dict[str, Any] | None] = {
    BASE: None,
    "soft labels": {},
    "soft labels alone": {"alpha": 1.0},
    "soft labels, temperature 1": {"temperature": 1.0},
    "soft labels, hints": {"hints": LAYERS},
    "soft labels, hints of weight 100": {"hints": LAYERS, "hint_weight": 100.0},
    "soft labels, attention": {"attention": LAYERS},
    "soft labels, attention of weight 1000": {"attention": LAYERS, "attention_weight": 1000.0},
    "soft labels, relations": {"relational": True},
    "soft labels, contrast": {"contrast": True},
}
"""What compress.distill says, by the name of the row; None is compress.recover."""


@dataclass(frozen=True)
class Run:
    """One seed of one row: which test images the student gets right, and how long its training took."""

    way: str
    seed: int
    correct: _measure.Numbers
    minutes: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, little training, fewer images")
    _cifar.add_data_option(parser)
    parser.add_argument("--target", default="x86-avx2")
    parser.add_argument("--seeds", type=int, help="how many (default 3)")
    parser.add_argument("--epochs", type=float, help="of training (default 5)")
    options = parser.parse_args()
    _cifar.end_without(options.data)
    options.seeds = options.seeds or (1 if options.quick else 3)
    options.epochs = options.epochs or (0.2 if options.quick else 5.0)
    options.images = 2000 if options.quick else 10_000
    network, test = _cifar.network(options.data, pruning.NETWORK), _cifar.Samples(options.data, "test")
    student = pruning.by_edgewright("taylor")(copy.deepcopy(network), options)
    whole = {"teacher": right(network, test, options), "student before": right(student, test, options)}
    runs = [run(way, seed, student, network, test, options) for seed in range(options.seeds) for way in WAYS]
    write(whole, runs, pruning.macs(student) / pruning.macs(network), options)


def run(way: str, seed: int, student: Any, teacher: Any, test: _cifar.Samples, options: argparse.Namespace) -> Run:
    """The row's student of that seed, trained now or found among the finished ones."""
    name = f"{way}, seed {seed}, {options.epochs:g} epochs, {options.images} images".translate(
        {ord(" "): "-", ord(","): None, ord("("): None, ord(")"): None}
    )
    folder = _measure.OUT / "distillation" / name
    kept = folder / "run.json"
    if kept.is_file():
        stored = json.loads(kept.read_text())
        return Run(way, seed, np.array(stored["correct"]), stored["minutes"])
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    trained = taught(way, seed, student, teacher, folder, options)
    minutes = (time.monotonic() - started) / 60
    correct = right(trained, test, options)
    partial = folder / "run.partial"
    partial.write_text(json.dumps({"correct": correct.tolist(), "minutes": minutes}))
    partial.rename(kept)
    print(f"{way}, seed {seed}: {np.mean(correct):.2%} in {minutes:.1f} minutes", file=sys.stderr)
    return Run(way, seed, correct, minutes)


def taught(way: str, seed: int, student: Any, teacher: Any, scratch: Path, options: argparse.Namespace) -> Any:
    """What the pass makes of the student that a recipe with this way gets, all else at its defaults."""
    from dataclasses import replace

    from edgewright.passes.contract import Context
    from edgewright.passes.distill import Distill
    from edgewright.passes.recover import Recover
    from edgewright.recipe.schema import Compress, Recipe
    from edgewright.targets import load_target

    asked = WAYS[way]
    compress = {"recover": {}} if asked is None else {"distill": asked}
    recipe: Any = Recipe.model_construct(compress=Compress.model_validate(compress))
    kind: Any = Recover if asked is None else Distill
    step = replace(kind.for_target(load_target(options.target), recipe), epochs=options.epochs)
    plain, augmented = _cifar.Samples(options.data, "train"), _cifar.Samples(options.data, "train", augmented=True)
    data: Any = _cifar.Splits(plain, train=augmented)
    context = Context(data, "classification", seed, scratch, lambda text: None, original=lambda: copy.deepcopy(teacher))
    return step.run(pruning.state_of(student), context).module


def right(network: Any, test: _cifar.Samples, options: argparse.Namespace) -> _measure.Numbers:
    """Which of the test images the network gets right."""
    import torch

    hits = []
    with torch.no_grad():
        for images, labels in test.arrays(500, options.images):
            hits.append(network(torch.from_numpy(images)).argmax(1).numpy() == labels)
    return np.concatenate(hits)


def beside(runs: list[Run], way: str) -> str:
    """The way's top-1 minus that of labels alone, over the same seeds, and whether the seeds' spreads are apart."""
    own, base = (np.array([np.mean(entry.correct) for entry in runs if entry.way == name]) for name in (way, BASE))
    difference = f"{100 * np.mean(own - base):+.2f} points"
    if len(own) < 2:
        return difference
    apart = "beyond" if own.min() > base.max() or own.max() < base.min() else "within"
    return f"{difference}, {apart} the seeds' spread"


def write(whole: dict[str, _measure.Numbers], runs: list[Run], macs: float, options: argparse.Namespace) -> None:
    """The table, with what was done and the machine that it belongs to."""
    lines = [[name, "", f"{np.mean(correct):.2%}", "", ""] for name, correct in whole.items()]
    for way in WAYS:
        own = [entry for entry in runs if entry.way == way]
        tops = [float(np.mean(entry.correct)) for entry in own]
        minutes = f"{np.mean([entry.minutes for entry in own]):.1f}"
        seeds = " ".join(f"{top:.2%}" for top in tops)
        lines.append([way, seeds, f"{np.mean(tops):.2%}", beside(runs, way) if own[0].way != BASE else "", minutes])
    headers = ["trained by", "top-1 by seed", "top-1", "beside labels alone", "minutes"]
    text = (
        f"{pruning.NETWORK}, pruned by edgewright (Taylor) to {macs:.3f} of its multiply-accumulates, then"
        f" {options.epochs:g} epochs on 10,000 images, the same for all; {options.images} test images, float, in"
        f" torch.\n\n{_measure.table(headers, lines)}"
    )
    stored: list[dict[str, Any]] = [
        {"trained_by": entry.way, "seed": entry.seed, "top1": float(np.mean(entry.correct)), "minutes": entry.minutes}
        for entry in runs
    ]
    stored += [{"network": name, "top1": float(np.mean(correct))} for name, correct in whole.items()]
    _measure.write("distillation", text, stored, _measure.origin("torch", "torch-pruning"), quick=options.quick)


if __name__ == "__main__":
    main()
