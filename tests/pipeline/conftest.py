"""A small complete recipe: a network that tells which quarter of an image is bright, trained in a second."""

from __future__ import annotations

from pathlib import Path

import pytest

MODEL = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.same = lambda x: x
        self.head = nn.Linear(32 * 16, 4)

    def forward(self, x):
        return self.head(self.same(self.body(self.stem(x))).flatten(1))


def build():
    return Net()
"""

DATA = """
import numpy as np
import torch
from torch.utils.data import TensorDataset


def samples(count, seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, count)
    images = random.normal(0, 0.5, (count, 1, 8, 8)).astype(np.float32)
    for image, label in zip(images, labels):
        row, column = 4 * (label // 2), 4 * (label % 2)
        image[0, row : row + 4, column : column + 4] += 1
    return TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))


def splits():
    return {"train": samples(256, 0), "calibration": samples(128, 1), "evaluation": samples(300, 2)}
"""

RECIPE = """
model:
  source: model.py:build
  weights: weights.safetensors
  inputs: {image: {shape: [1, 1, 8, 8]}}
data: data.py:splits
compress:
  prune: {flops: 0.4, criterion: l2, multiple: 8}
  recover: {epochs: 1}
  quantize: {calibration: {method: percentile, samples: 64}}
budget: {accuracy_drop_points: 5.0}
targets: [x86-avx2]
"""


def _train(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    names: dict[str, object] = {}
    exec(MODEL + DATA, names)
    torch.manual_seed(0)
    module = names["build"]()  # type: ignore[operator]
    images, labels = names["samples"](256, 0).tensors  # type: ignore[operator]
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(images), labels).backward()
        optimizer.step()
    save_file(module.state_dict(), folder / "weights.safetensors")


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    _train(folder)
    return folder / "weights.safetensors"


@pytest.fixture
def recipe_file(tmp_path: Path, _trained: Path) -> Path:
    """recipe.yaml in a folder of its own, with everything that it names."""
    folder = tmp_path / "recipe"
    folder.mkdir()
    (folder / "model.py").write_text(MODEL)
    (folder / "data.py").write_text(DATA)
    (folder / "weights.safetensors").write_bytes(_trained.read_bytes())
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder / "recipe.yaml"
