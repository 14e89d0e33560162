"""The reference networks of MLPerf Tiny (https://github.com/mlcommons/tiny) and their samples, for the scripts here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _cifar import Images

RECORDING = "normal_id_01_00000000_hist_librosa.bin"
"""The one recording that the benchmark ships for anomaly detection: 200 frames of 128 mel bands, float32, from
`benchmark/reference_submissions/anomaly_detection/datasets/dcase01` of its repository."""
BANDS, FRAMES = 128, 5
KWS_CALIBRATION = 256
"""Of the 1,000 key words that there are, the first so many calibrate; accuracy is told on all, and on the others."""


class Samples:
    """Samples as they lie in a file, made into float inputs (N, ...) by `prepare` when they are asked for."""

    def __init__(self, name: str, stored: Images, labels: Images, prepare: Callable[[Images], Images]) -> None:
        self.name, self.stored, self.labels, self.prepare = name, stored, labels, prepare

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Sequence[int]) -> Samples:
        """The samples of these indices alone, in this order."""
        chosen = list(indices)
        return Samples(self.name, self.stored[chosen], self.labels[chosen], self.prepare)

    def arrays(self, size: int, limit: int) -> Iterator[tuple[Images, Images]]:
        """Batches of inputs (N, ...) as the network wants them, and labels (N, ...)."""
        for start in range(0, min(limit, len(self)), size):
            stop = min(start + size, limit)
            yield np.ascontiguousarray(self.prepare(self.stored[start:stop])), self.labels[start:stop]

    def batches(self, size: int, *, limit: int | None = None, order_seed: int | None = None) -> Iterator[Any]:
        """The same as tensors, as edgewright's passes read a split."""
        import torch
        from edgewright.recipe.datasets import Batch

        for inputs, labels in self.arrays(size, len(self) if limit is None else limit):
            yield Batch((torch.from_numpy(inputs),), torch.from_numpy(labels))


def images(data: Path, split: str) -> Samples:
    """CIFAR-10 as the image classifier wants it: (N, 3, 32, 32), 0 to 255."""
    with np.load(data / "cifar10" / f"cifar10_{split}_jpeg_10k.npz") as archive:
        stored, labels = archive["x"], archive["y"].astype(np.int64)
    return Samples(split, stored, labels, lambda part: part.transpose(0, 3, 1, 2).astype(np.float32))


def key_words(data: Path) -> Samples:
    """The 1,000 features (N, 1, 49, 10) of the accuracy run of key word spotting, as real numbers."""
    with np.load(data / "mlperf_tiny" / "kws" / "kws01_mfcc_1000.npz") as archive:
        stored, labels = archive["x_int8"], archive["y"].astype(np.int64)
        scale, zero_point = np.float32(archive["scale"]), np.float32(archive["zero_point"])
    return Samples("test", stored, labels, lambda part: ((part.astype(np.float32) - zero_point) * scale)[:, None])


def windows(recording: Path) -> Samples:
    """The windows (196, 640) of five frames each that a recording is judged by; labels are the windows themselves."""
    frames = np.fromfile(recording, np.float32).reshape(-1, BANDS)
    stored = np.stack([frames[at : at + FRAMES].ravel() for at in range(len(frames) - FRAMES + 1)])
    return Samples("recording", stored, stored, lambda part: part)


def image_classifier(data: Path) -> Any:
    """ResNet8 with the reference's weights, in eval mode."""
    return _ported(data, "ResNet8", "ic/ic_resnet8_ported.pt")


def key_word_spotter(data: Path) -> Any:
    """The depthwise separable network with the reference's weights, in eval mode."""
    return _ported(data, "KwsDSCNN", "kws/kws_dscnn_ported.pt")


def autoencoder(data: Path) -> Any:
    """The dense autoencoder, its weights read from the reference's float file, where batch norms are in them."""
    import torch
    from edgewright.runtimes.flatbuffer.file import read
    from edgewright.runtimes.flatbuffer.graph import operators

    layers: list[torch.nn.Module] = []
    for step in operators(read(data / "mlperf_tiny" / "ad" / "ad01_fp32.tflite")):
        weights, bias = (tensor.values() for tensor in step.present[1:3])
        layer = torch.nn.Linear(weights.shape[1], weights.shape[0])
        layer.load_state_dict({"weight": torch.tensor(weights), "bias": torch.tensor(bias)})
        layers += [layer, torch.nn.ReLU()] if step.options.fusedActivationFunction else [layer]
    return torch.nn.Sequential(*layers).eval()


def _ported(data: Path, kind: str, weights: str) -> Any:
    import torch

    folder = data / "mlperf_tiny"
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    import mlperf_tiny_torch

    network = getattr(mlperf_tiny_torch, kind)()
    network.load_state_dict(torch.load(folder / weights, map_location="cpu", weights_only=True))
    return network.eval()
