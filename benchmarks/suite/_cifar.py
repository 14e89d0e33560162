"""The CIFAR-10 copies and the networks trained on them, as the scripts of this folder read them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PADDING = 4
"""Pixels around a training image out of which a crop is drawn (He et al. 2015, arXiv:1512.03385, section 4.2)."""
Images = np.ndarray[Any, np.dtype[Any]]


class Samples:
    """One split of the CIFAR-10 copies: bytes in memory, float batches made when they are asked for.

    With `augmented`, each image is shifted by up to four pixels and mirrored at random, by torch's global generator.
    With `mixed`, the images of a batch are then mixed in pairs, for teachers that say what they show: see `_mixed`.
    """

    def __init__(self, data: Path, split: str, *, augmented: bool = False, mixed: bool = False) -> None:
        self.name, self.augmented, self.mixed = split, augmented, mixed
        with np.load(data / "cifar10" / f"cifar10_{split}_jpeg_10k.npz") as archive:
            self.images, self.labels = archive["x"], archive["y"].astype(np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Sequence[int]) -> Self:
        """The samples of these indices alone, in this order."""
        chosen = object.__new__(type(self))
        chosen.name, chosen.augmented, chosen.mixed = self.name, self.augmented, self.mixed
        chosen.images, chosen.labels = self.images[list(indices)], self.labels[list(indices)]
        return chosen

    def arrays(self, size: int, limit: int) -> Iterator[tuple[Images, Images]]:
        """Batches of images (N, 3, 32, 32) as networks want them, and labels (N,)."""
        for start in range(0, min(limit, len(self)), size):
            stop = min(start + size, limit)
            images = _augmented(self.images[start:stop]) if self.augmented else self.images[start:stop]
            scaled = (images.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(DEVIATION)
            batch = np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))
            yield _mixed(batch) if self.mixed else batch, self.labels[start:stop]

    def batches(self, size: int, *, limit: int | None = None, order_seed: int | None = None) -> Iterator[Any]:
        """The same as tensors, as edgewright's passes read a split."""
        import torch
        from edgewright.recipe.datasets import Batch

        for images, labels in self.arrays(size, len(self) if limit is None else limit):
            yield Batch((torch.from_numpy(images),), torch.from_numpy(labels))


class Splits:
    """Data whose splits are those given by name; a name that was not given stands for `default`."""

    def __init__(self, default: Samples, **named: Samples) -> None:
        self._default, self._named = default, named

    def has(self, name: str) -> bool:
        return True

    def split(self, name: str) -> Samples:
        return self._named.get(name, self._default)


def add_data_option(parser: argparse.ArgumentParser) -> None:
    """The parser knows `--data`, the folder with the images and networks."""
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=default, help="the folder with the images and networks")


def end_without(data: Path) -> None:
    """The script ends with 0 and says what it wanted where `data` has no images and networks."""
    missing = [name for name in ("cifar10", "models_cifar10") if not (data / name).is_dir()]
    if missing:
        print(f"not run: {data} has no folder {' and no '.join(missing)}; name another with --data FOLDER")
        sys.exit(0)


def network(data: Path, name: str) -> Any:
    """The trained torch module of that name, in eval mode."""
    sys.path.insert(0, str(data / "models_cifar10"))
    import resnet_cifar

    make: Callable[[], Any] = resnet_cifar.resnet56 if "56" in name else resnet_cifar.resnet20
    return resnet_cifar.load(data / "models_cifar10" / f"{name}.pt", make)


def _augmented(images: Images) -> Images:
    """(N, 32, 32, 3) bytes, each out of its own place in the padded image, half of them mirrored."""
    import torch

    count, side = images.shape[:2]
    padded = np.pad(images, ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0)))
    corners = torch.randint(0, 2 * PADDING + 1, (count, 2)).numpy()
    mirrored = torch.randint(0, 2, (count,)).numpy().astype(bool)
    place = np.arange(side)
    rows, columns = corners[:, :1] + place, corners[:, 1:] + place
    columns[mirrored] = columns[mirrored][:, ::-1]
    return padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def _mixed(images: Images) -> Images:
    """(N, 3, 32, 32) images, each with a part of the one before it, laid over it or in a square, by torch's generator.

    The part is drawn evenly from 0 to 1 (Zhang et al. 2018, "mixup", arXiv:1710.09412; Yun et al. 2019, "CutMix",
    arXiv:1905.04899; both with alpha 1), and so is which of the two it is.
    """
    import torch

    count, side = len(images), images.shape[-1]
    others, place = np.roll(images, 1, 0), np.arange(side) + 0.5
    draws = torch.rand((4, count, 1, 1, 1)).numpy()
    part, squares = draws[0], draws[3] < 0.5
    half, rows, columns = side * np.sqrt(part) / 2, side * draws[1], side * draws[2]
    inside = (np.abs(place[:, None] - rows) < half) & (np.abs(place - columns) < half)
    return np.where(squares, np.where(inside, others, images), (1 - part) * images + part * others)
