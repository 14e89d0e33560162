"""The networks that tflite.py builds: each with its samples, what is asked of it, and the vendor's own int8 file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import _cifar
import _mlperf
import numpy as np

SAMPLES = (256, 512)
"""How many samples calibrate; the first is our default."""


@dataclass(frozen=True)
class Case:
    """One network. `points`: how much accuracy int8 may cost; `least`: what it has to reach, whatever float does.

    `score` is top-1, or the mean squared error of a reconstruction. `vendor` is a file of the same weights only where
    `is_same` says so. `note` is what a reader has to know of the samples.
    """

    name: str
    shape: tuple[int, ...]
    network: Callable[[], Any]
    calibration: Any
    evaluation: Any
    counts: tuple[int, ...] = SAMPLES
    score: Literal["top1", "reconstruction"] = "top1"
    points: float = 0.3
    least: float = 0.0
    vendor: Path | None = None
    is_same: bool = True
    note: str = ""
    is_linear: bool = False
    """Whether ai-edge-quantizer is tried with one weight scale for each linear layer too."""
    unseen: int = 0
    """From which sample on none was calibrated on, where both come from the same set; 0 where they do not."""

    @property
    def task(self) -> str:
        return "classification" if self.score == "top1" else "regression"


def resnet(data: Path, name: str) -> Case:
    """A ResNet for CIFAR-10, calibrated on training images."""
    return Case(
        name=name,
        shape=(1, 3, 32, 32),
        network=lambda: _cifar.network(data, name),
        calibration=_cifar.Samples(data, "train"),
        evaluation=_cifar.Samples(data, "test"),
    )


def image_classification(data: Path, recording: Path) -> Case:
    folder = data / "mlperf_tiny" / "ic"
    return Case(
        name="mlperf_tiny_ic",
        shape=(1, 3, 32, 32),
        network=lambda: _mlperf.image_classifier(data),
        calibration=_mlperf.images(data, "train"),
        evaluation=_mlperf.images(data, "test"),
        vendor=folder / "pretrainedResnet_quant.tflite",
    )


def key_word_spotting(data: Path, recording: Path) -> Case:
    every, used = _mlperf.key_words(data), _mlperf.KWS_CALIBRATION
    return Case(
        name="mlperf_tiny_kws",
        shape=(1, 1, 49, 10),
        network=lambda: _mlperf.key_word_spotter(data),
        calibration=every.subset(range(used)),
        evaluation=every,
        counts=(used,),
        points=1.0,
        least=0.9,
        vendor=data / "mlperf_tiny" / "kws" / "kws_ref_model.tflite",
        is_same=False,
        note=f"calibrated, without labels, on the first {used} of the 1,000 samples there are, by both sides; the"
        " vendor's file is of another training run",
        unseen=used,
    )


def anomaly_detection(data: Path, recording: Path) -> Case:
    """Raises FileNotFoundError where the recording is not there."""
    windows = _mlperf.windows(recording)
    return Case(
        name="mlperf_tiny_ad",
        shape=(1, _mlperf.BANDS * _mlperf.FRAMES),
        network=lambda: _mlperf.autoencoder(data),
        calibration=windows,
        evaluation=windows,
        counts=(len(windows),),
        score="reconstruction",
        vendor=data / "mlperf_tiny" / "ad" / "ad01_int8.tflite",
        note=f"the {len(windows)} windows of the one recording that is shipped calibrate, for both sides, and are"
        " scored."
        " Linear layers have a weight scale per channel on both sides, and one in all in the vendor's file:"
        " ai-edge-quantizer's is shown in that form too",
        is_linear=True,
    )


CASES: dict[str, Callable[[Path, Path], Case]] = {
    "resnet20_cifar10jpeg_derived": lambda data, _: resnet(data, "resnet20_cifar10jpeg_derived"),
    "resnet56_cifar10": lambda data, _: resnet(data, "resnet56_cifar10"),
    "mlperf_tiny_ic": image_classification,
    "mlperf_tiny_kws": key_word_spotting,
    "mlperf_tiny_ad": anomaly_detection,
}


def inputs(samples: Any, count: int) -> np.ndarray[Any, np.dtype[Any]]:
    """The first inputs (N, ...) of the samples, in one array."""
    return np.concatenate([values for values, _ in samples.arrays(256, count)])


def judged(case: Case, outputs: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, np.dtype[Any]]:
    """What each sample's outputs (N, ...) are worth: 1 where the class is right, or the squared error of a window."""
    labels: Sequence[Any] = case.evaluation.labels[:count]
    if case.score == "top1":
        return (outputs.argmax(1) == labels).astype(float)
    return ((outputs.astype(np.float64) - labels) ** 2).mean(1)
