"""One row of techniques.py built for one seed: from the trained network to the artifact, and what it answers."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import sys
import time
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import _cifar
import _measure
import _self_trained
import numpy as np
from _technique_rows import WIDE, Row

KEPT = _measure.OUT / "techniques"
BATCH, JUDGED = 500, 5000
"""Images at once, and how many judge a network that was not trained yet."""
SLUG = str.maketrans({" ": "-", ",": None, "(": None, ")": None, "%": None, "/": None, "'": None})


@dataclass(frozen=True)
class Made:
    """What stands beside an artifact: its answers (a digit for each test image), sizes, work, and what it took."""

    answers: str
    unrecovered: float | None
    """The accuracy of the network in torch, right before it was trained; None where it was not."""
    macs: float
    """Beside those of the whole network."""
    kib: float
    compressed_kib: float
    minutes: float
    cpu_minutes: float
    cpu: str
    gpu: str = ""
    """What it was trained on, where that is a GPU."""

    @property
    def predictions(self) -> _measure.Numbers:
        """(images,) classes."""
        return np.frombuffer(self.answers.encode(), np.uint8) - ord("0")


@dataclass(frozen=True)
class Options:
    """What all rows of a run have in common; rows train for at most so many epochs (None: as many as they ask for)."""

    data: Path
    target: str
    images: int
    train_images: int = 10_000
    epochs: int | None = None


def folder_of(row: Row, seed: int, options: Options) -> Path:
    """Where the row's artifact and figures of that seed are kept."""
    asked = [row.compress, row.network, row.weight_bits, options.target]
    asked += [options.images, options.train_images, options.epochs, *(["mixed"] if row.is_mixed else [])]
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:8]
    return KEPT / f"{row.group}-{row.name}".translate(SLUG) / f"{key}-{seed}"


def kept(row: Row, seed: int, options: Options) -> Made | None:
    """What was made of the row before; None where it has to be made."""
    file = folder_of(row, seed, options) / "made.json"
    return Made(**json.loads(file.read_text())) if file.is_file() else None


def make(row: Row, seed: int, options: Options) -> Made:
    """The row's artifact stands in its folder; a run that was killed goes on from its last checkpoint."""
    found = kept(row, seed, options)
    if found is not None:
        return found
    folder = folder_of(row, seed, options)
    folder.mkdir(parents=True, exist_ok=True)
    started, cpu_started = time.monotonic(), time.process_time()
    file, unrecovered, macs = _built(row, seed, options, folder)
    minutes, cpu_minutes = (time.monotonic() - started) / 60, (time.process_time() - cpu_started) / 60
    samples = _cifar.Samples(options.data, "test")
    answers = _measure.predictions(_measure.session(file), samples.arrays(1, options.images))
    whole = file.read_bytes()
    found = Made(
        answers="".join(map(str, answers)),
        unrecovered=unrecovered,
        macs=macs,
        kib=len(whole) / 1024,
        compressed_kib=len(zlib.compress(whole)) / 1024,
        minutes=minutes,
        cpu_minutes=cpu_minutes,
        cpu=_measure.origin()["cpu"],
        gpu=_gpu() if row.is_trained else "",
    )
    partial = folder / "made.partial"
    partial.write_text(json.dumps(asdict(found)))
    partial.rename(folder / "made.json")
    shutil.rmtree(folder / "scratch", ignore_errors=True)
    top1 = np.mean(answers == samples.labels[: options.images])
    print(f"{row.group}, {row.name}, seed {seed}: {top1:.2%} in {minutes:.1f} minutes", file=sys.stderr, flush=True)
    return found


def network(name: str, options: Options) -> Any:
    """The trained torch module of that name; the wide one is trained here where that was not done."""
    if name != WIDE:
        return _cifar.network(options.data, name)
    return _self_trained.wide_resnet(options.data, options.train_images, options.epochs)


def target_of(row: Row, name: str) -> Any:
    """The target; where the row has weights of one scale for each tensor, one on which they have so many bits."""
    from edgewright.targets import load_target

    target = load_target(name)
    if row.weight_bits is None:
        return target
    int8 = target.quantization.int8_static
    if int8 is None:
        sys.exit(f"{name} has no static int8 kernels")
    changed = int8.model_copy(update={"weight_bits": row.weight_bits, "weight_granularity": "per-tensor"})
    quantization = target.quantization.model_copy(update={"int8_static": changed})
    return target.model_copy(update={"quantization": quantization})


def _built(row: Row, seed: int, options: Options, folder: Path) -> tuple[Path, float | None, float]:
    """The artifact's file, the accuracy before training and the part of the multiply-accumulates that is left."""
    from edgewright.ir.state import InputSpec, ModelState
    from edgewright.passes import ALL, manager
    from edgewright.recipe.schema import Compress, Recipe
    from edgewright.runtimes.onnxruntime import OnnxEmitter

    target, emitter, whole = target_of(row, options.target), OnnxEmitter(), network(row.network, options)
    recipe: Any = Recipe.model_construct(
        compress=Compress.model_validate(_self_trained.shortened(row.compress, options.epochs))
    )
    plan = manager.plan(recipe, target, ALL, emitter.name, emitter.needs)
    state, unrecovered, macs = ModelState((InputSpec("image", (None, 3, 32, 32)),), copy.deepcopy(whole)), None, 1.0
    for number, planned in enumerate(plan.steps):
        if planned.step.name in ("recover", "distill"):
            unrecovered = _accuracy(state.torch_module(), options)
        if planned.step.name == "export":
            macs = _macs(state.torch_module()) / _macs(whole)
        context = _context(row, seed, options, folder / "scratch" / f"{number}")
        state = manager.run(planned.step, state, context)
    return folder / emitter.emit(state, target, folder).main, unrecovered, macs


def _context(row: Row, seed: int, options: Options, scratch: Path) -> Any:
    from edgewright.passes.contract import Context

    scratch.mkdir(parents=True, exist_ok=True)
    plain = _cifar.Samples(options.data, "train")
    augmented = _cifar.Samples(options.data, "train", augmented=True, mixed=row.is_mixed)
    return Context(
        data=_cifar.Splits(plain, train=augmented.subset(range(options.train_images))),  # type: ignore[arg-type]
        task="classification",
        seed=seed,
        scratch=scratch,
        say=lambda text: None,
        original=lambda: network(row.network, options),
        other=lambda other: network(Path(str(other.weights)).stem, options),
    )


def _accuracy(module: Any, options: Options) -> float:
    import torch

    samples, hits = _cifar.Samples(options.data, "test"), []
    with torch.no_grad():
        for images, labels in samples.arrays(BATCH, min(JUDGED, options.images)):
            hits.append(module(torch.from_numpy(images)).argmax(1).numpy() == labels)
    return float(np.mean(np.concatenate(hits)))


def _gpu() -> str:
    """The GPU that passes train on here; empty where there is none."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def _macs(module: Any) -> float:
    import torch
    from edgewright.channels.costs import count_macs

    return count_macs(module, (torch.zeros(1, 3, 32, 32),))
