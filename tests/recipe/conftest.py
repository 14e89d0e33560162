"""A tiny project as a user has it: a network, data and a recipe in one folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

MODEL = """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.norm = nn.BatchNorm2d(4)
            self.pool = lambda x: x.mean((2, 3))
            self.linear = nn.Linear(4, 2)

        def forward(self, image):
            return self.linear(self.pool(self.norm(self.conv(image))))

    def build():
        return Net()
"""
DATA = """
    import torch

    class Pairs:
        def __init__(self, count, seed):
            self.images = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))

        def __len__(self):
            return len(self.images)

        def __getitem__(self, index):
            return self.images[index], index % 2

    def splits():
        return {"train": Pairs(20, 0), "calibration": Pairs(10, 1), "evaluation": Pairs(12, 2)}
"""
RECIPE = """
    model:
      source: model.py:build
      inputs: {image: {shape: [batch, 3, 8, 8]}}
    data: data.py:splits
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes files (name -> text) into a new folder and returns the folder's recipe."""

    def write_files(folder: str = "project", **texts: str) -> Path:
        (tmp_path / folder).mkdir(exist_ok=True)
        for name, text in {"model.py": MODEL, "data.py": DATA, "recipe.yaml": RECIPE, **texts}.items():
            file = tmp_path / folder / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(dedent(text))
        return tmp_path / folder / "recipe.yaml"

    return write_files
