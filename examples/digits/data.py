"""scikit-learn's handwritten digits (1797 real images of 8x8), enlarged to 32x32 and split once and for all."""

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset

TRAINED_ON, CALIBRATED_ON = 1197, 256
SHIFT = 3
"""By how many pixels the train split's images are moved at most."""


class Shifted(Dataset[tuple[Tensor, Tensor]]):
    """Each image is moved a little, another way each time it is read."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        right, down = torch.randint(0, 2 * SHIFT + 1, (2,)).tolist()
        padded = functional.pad(self.images[index], [SHIFT] * 4, value=float(self.images.min()))
        return padded[:, down : down + 32, right : right + 32], self.labels[index]


def splits() -> dict[str, Dataset[tuple[Tensor, Tensor]]]:
    """What the recipe's `data` names: train (augmented), calibration (a part of it, as it is) and evaluation."""
    digits = load_digits()
    small = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    images = (functional.interpolate(small, size=(32, 32), mode="bilinear") - 0.3) / 0.35
    labels = torch.tensor(digits.target, dtype=torch.int64)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], labels[order]
    return {
        "train": Shifted(images[:TRAINED_ON], labels[:TRAINED_ON]),
        "calibration": TensorDataset(images[:CALIBRATED_ON], labels[:CALIBRATED_ON]),
        "evaluation": TensorDataset(images[TRAINED_ON:], labels[TRAINED_ON:]),
    }
