"""Layers of lower rank in three networks: what they cost in accuracy and what they gain in onnxruntime, layer by layer.

    python benchmarks/suite/factorize.py [--quick] [--data FOLDER] [--target NAME] [--epochs N]

ResNet20 and MLPerf Tiny's image classifier are recovered on 10,000 images after their layers came apart; the anomaly
detector's autoencoder, for which there are no training data, is not. All is float32; accuracy is that of the artifacts,
latency is taken in turns in one thread. Each finished row is kept in out/factorize beside this file. Writes
results/factorize.md and factorize.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import _cifar
import _measure
import _mlperf
import numpy as np

WHOLE = "whole"
WAYS: dict[str, dict[str, Any] | None] = {
    WHOLE: None,
    "energy 0.9": {"energy": 0.9},
    "half the work, svd": {"ratio": 0.5, "method": "svd", "only_if_faster": False},
    "half the work, tucker": {"ratio": 0.5, "method": "tucker", "only_if_faster": False},
    "half the work, cp": {"ratio": 0.5, "method": "cp", "only_if_faster": False},
    "half the work": {"ratio": 0.5},
    "measured, 0.9": {"rank": "measured"},
    "measured, 0.6": {"rank": "measured", "least_energy": 0.6},
}
"""What compress.factorize says, by the name of the row; where it says no more, layers that are not faster stay."""
QUICK = (WHOLE, "energy 0.9", "half the work, cp", "half the work", "measured, 0.9", "measured, 0.6")


@dataclass(frozen=True)
class Network:
    """A network, how its images are read, and whether it is a classifier: else its error is the mean square."""

    name: str
    load: Callable[[Path], Any]
    samples: Callable[[Path, str], Any]
    shape: tuple[int, ...]
    is_classifier: bool = True


@dataclass(frozen=True)
class Row:
    """One network, one way: `worth` is top-1, or the mean square error, at once and after training, of the artifact."""

    network: str
    way: str
    worth: float
    at_once: float
    macs: int
    kib: float
    compressed_kib: float
    minutes: float
    notes: tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="little training, fewer images and ways")
    _cifar.add_data_option(parser)
    parser.add_argument("--target", default="x86-avx2")
    parser.add_argument("--epochs", type=float, help="of recovery (default 2)")
    options = parser.parse_args()
    _cifar.end_without(options.data)
    options.epochs = options.epochs or (0.1 if options.quick else 2.0)
    options.images = 2000 if options.quick else 10_000
    rows, times = [], {}
    for network in networks(options.data):
        names = QUICK if options.quick else tuple(WAYS)
        names = tuple(
            name for name in names if network.is_classifier or name.partition(", ")[2] not in ("tucker", "cp")
        )
        own = [row_of(network, name, options) for name in names]
        sessions = [_measure.session(folder_of(network, name, options) / "model.onnx") for name in names]
        sample = next(network.samples(options.data, "test").arrays(1, 1))[0]
        taken = _measure.in_turns(sessions, sample, 200 if options.quick else 1000)
        times.update({(network.name, name): each for name, each in zip(names, taken, strict=True)})
        rows += own
    write(rows, times, options)


def networks(data: Path) -> list[Network]:
    """Those whose data are here: the autoencoder's recording may not be."""
    found = [
        Network(
            "ResNet20",
            lambda data: _cifar.network(data, "resnet20_cifar10jpeg_derived"),
            _cifar_samples,
            (1, 3, 32, 32),
        ),
        Network("IC", _mlperf.image_classifier, _mlperf.images, (1, 3, 32, 32)),
        Network("AD", _mlperf.autoencoder, _noise, (1, 640), is_classifier=False),
    ]
    return [network for network in found if (data / "mlperf_tiny").is_dir() or network.name == "ResNet20"]


def _cifar_samples(data: Path, split: str) -> Any:
    return _cifar.Samples(data, split, augmented=split == "train")


def _noise(data: Path, split: str) -> Any:
    """Windows of noise as loud as the mel bands of a recording are: what the autoencoder makes of them is compared."""
    values = np.random.default_rng(0).normal(-30, 10, (256, 640)).astype(np.float32)
    return _mlperf.Samples(split, values, values, lambda part: part)


def folder_of(network: Network, way: str, options: argparse.Namespace) -> Path:
    """Where the row's artifact and figures are kept."""
    name = f"{network.name} {way} {options.epochs:g} epochs {options.images} images {options.target}"
    return _measure.OUT / "factorize" / name.replace(",", "").replace(" ", "-")


def row_of(network: Network, way: str, options: argparse.Namespace) -> Row:
    """The row, made now or found among the finished ones."""
    folder = folder_of(network, way, options)
    kept = folder / "row.json"
    if kept.is_file():
        stored = json.loads(kept.read_text())
        return Row(**{**stored, "notes": tuple(stored["notes"])})
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    state = factorized(network, way, options, folder)
    reference = None if network.is_classifier else network.load(options.data)
    at_once = worth(file_of(state, options, folder / "at-once"), network, reference, options)
    trained = recovered(network, state, options, folder) if network.is_classifier and way != WHOLE else state
    file = file_of(trained, options, folder)
    found = Row(
        network=network.name,
        way=way,
        worth=worth(file, network, reference, options),
        at_once=at_once,
        macs=macs(trained, network),
        kib=file.stat().st_size / 1024,
        compressed_kib=len(zlib.compress(file.read_bytes())) / 1024,
        minutes=(time.monotonic() - started) / 60,
        notes=tuple(note for record in state.history for note in record.notes),
    )
    partial = folder / "row.partial"
    partial.write_text(json.dumps(asdict(found)))
    partial.rename(kept)
    print(f"{network.name}, {way}: {found.at_once:.4g} -> {found.worth:.4g}", file=sys.stderr)
    return found


def factorized(network: Network, way: str, options: argparse.Namespace, scratch: Path) -> Any:
    """What a recipe that says so makes of the network on the target, timed on this machine."""
    from edgewright.devices.local import LocalDevice
    from edgewright.ir.state import InputSpec, ModelState
    from edgewright.passes import manager
    from edgewright.passes.contract import Context
    from edgewright.passes.factorize import Factorize
    from edgewright.pipeline.measuring import measure_on
    from edgewright.recipe.schema import Compress, Recipe
    from edgewright.targets import load_target

    state = ModelState((InputSpec("image", network.shape),), network.load(options.data))
    asked = WAYS[way]
    if asked is None:
        return state
    target = load_target(options.target)
    recipe: Any = Recipe.model_construct(compress=Compress.model_validate({"factorize": asked}))
    step: Any = Factorize.for_target(target, recipe)
    data: Any = _cifar.Splits(network.samples(options.data, "train"))
    measure = measure_on(target, LocalDevice(), 1)
    return manager.run(step, state, Context(data, "classification", 0, scratch, lambda text: None, measure=measure))


def recovered(network: Network, state: Any, options: argparse.Namespace, scratch: Path) -> Any:
    """What compress.recover makes of it, all but the epochs at its defaults."""
    from edgewright.passes.contract import Context
    from edgewright.passes.recover import Recover

    data: Any = _cifar.Splits(network.samples(options.data, "train"))
    return Recover(options.epochs).run(state, Context(data, "classification", 0, scratch, lambda text: None))


def file_of(state: Any, options: argparse.Namespace, folder: Path) -> Path:
    """The float32 artifact's file, in the folder."""
    from edgewright.passes import manager
    from edgewright.passes.contract import Context
    from edgewright.passes.export import Export
    from edgewright.passes.fold_batchnorm import FoldBatchnorm
    from edgewright.runtimes.onnxruntime import OnnxEmitter
    from edgewright.targets import load_target

    folder.mkdir(exist_ok=True)
    data: Any = None
    for step in (Export(), FoldBatchnorm()):
        state = manager.run(step, state, Context(data, "classification", 0, folder, lambda text: None))
    return folder / OnnxEmitter().emit(state, load_target(options.target), folder).main


def worth(file: Path, network: Network, reference: Any, options: argparse.Namespace) -> float:
    """Top-1; of the autoencoder the mean square of what changed in its output, by that of the output."""
    import torch

    runner = _measure.session(file)
    samples = network.samples(options.data, "test")
    if network.is_classifier:
        found = _measure.predictions(runner, samples.arrays(1, options.images))
        return float(np.mean(found == samples.labels[: len(found)]))
    inputs = np.concatenate([batch for batch, _ in samples.arrays(1, len(samples))])
    outputs = np.concatenate([runner.run(None, {"image": inputs[at : at + 1]})[0] for at in range(len(inputs))])
    with torch.no_grad():
        expected = reference(torch.from_numpy(inputs)).numpy()
    return float(np.square(outputs - expected).mean() / np.square(expected).mean())


def macs(state: Any, network: Network) -> int:
    import torch
    from edgewright.channels.costs import count_macs

    return round(count_macs(state.module, (torch.zeros(network.shape),)))


def write(rows: list[Row], times: dict[tuple[str, str], _measure.Numbers], options: argparse.Namespace) -> None:
    """The table of networks, and below it each layer that was timed."""
    lines, stored = [], []
    for row in rows:
        own, whole = times[row.network, row.way], times[row.network, WHOLE]
        base = next(other for other in rows if other.network == row.network and other.way == WHOLE)
        ratio, low, high = _measure.ratio(own, whole)
        form = ".2%" if row.network != "AD" else ".2e"
        taken = f"{ratio:.2f} ({low:.2f} to {high:.2f})" if row.way != WHOLE else ""
        said = row.notes[0].partition(" layers")[0] if row.notes else ""
        line = [
            row.network,
            row.way,
            said,
            f"{row.macs / base.macs:.2f}",
            f"{row.at_once:{form}}",
            f"{row.worth:{form}}",
        ]
        line += [
            f"{np.median(own) / 1e6:.3f}",
            taken,
            f"{row.kib:.0f} ({row.compressed_kib:.0f})",
            f"{row.minutes:.1f}",
        ]
        lines.append(line)
        stored.append({**asdict(row), "ns": float(np.median(own)), "ratio": [ratio, low, high]})
    headers = [
        "network",
        "asked",
        "apart",
        "MACs",
        "at once",
        "recovered",
        "ms",
        "beside whole",
        "KiB (zlib)",
        "minutes",
    ]
    layers = [
        [row.network, row.way, name, said]
        for row in rows
        for name, said in map(_of_layer, row.notes)
        if " us alone " in said
    ]
    text = (
        f"Layers of lower rank, float32, as {options.target} wants their ranks; {options.epochs:g} epochs of recovery"
        f" on 10,000 images, 'at once' is before it; top-1 of {options.images} test images, for AD the relative square"
        " error of its outputs on noise (there is no data to train it on); latency in turns, one thread. Where the"
        " way does not say svd, tucker or cp, layers that are not faster alone stay whole.\n\n"
        f"{_measure.table(headers, lines)}\n\nEach layer that was timed:\n\n"
        f"{_measure.table(['network', 'asked', 'layer', 'found'], layers)}"
    )
    _measure.write("factorize", text, stored, _measure.origin("onnxruntime", "torch"), quick=options.quick)


def _of_layer(note: str) -> tuple[str, str]:
    """The layer that a note of the pass tells of, and what it says."""
    name, _, said = note.removeprefix("left whole: ").partition(": ")
    return name, said


if __name__ == "__main__":
    main()
