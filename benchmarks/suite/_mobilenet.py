"""MobileNetV2's structure on small images, after a short training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import _cifar

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks and stride (Sandler et al. 2018, arXiv:1801.04381, table 2)."""
STEM, LAST, CLASSES = 32, 1280, 10
EPOCHS, BATCH, RATE = 3, 64, 0.05


def network(samples: _cifar.Samples, kept: Path) -> Any:
    """The network in evaluation mode, trained for a few epochs; its weights are kept for later runs.

    Untrained, its last batch norms would blow the rounding up to the size of what tells images apart.
    """
    import torch

    torch.manual_seed(0)
    built = _built()
    if kept.is_file():
        built.load_state_dict(torch.load(kept, weights_only=True))
        return built.eval()
    steps = EPOCHS * (len(samples) // BATCH)
    optimizer = torch.optim.SGD(built.parameters(), RATE, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    built.train()
    for _ in range(EPOCHS):
        order = torch.randperm(len(samples)).tolist()[: len(samples) // BATCH * BATCH]
        for batch in samples.subset(order).batches(BATCH):
            loss = torch.nn.functional.cross_entropy(built(*batch.inputs), batch.labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    kept.parent.mkdir(parents=True, exist_ok=True)
    torch.save(built.state_dict(), kept)
    return built.eval()


def _built() -> Any:
    from torch import nn

    layers: list[Any] = [*_normal(3, STEM, 3, 2)]
    inputs = STEM
    for expansion, channels, blocks, stride in STAGES:
        for number in range(blocks):
            layers.append(_block(inputs, channels, expansion, stride if number == 0 else 1))
            inputs = channels
    layers += [*_normal(inputs, LAST, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(LAST, CLASSES)]
    return nn.Sequential(*layers)


def _normal(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> list[Any]:
    from torch import nn

    convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out")
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU6()]


def _block(inputs: int, outputs: int, expansion: int, stride: int) -> Any:
    """An inverted residual: expanded, filtered channel by channel, and projected without an activation."""
    from torch import nn

    width = inputs * expansion
    expanded = _normal(inputs, width, 1) if expansion > 1 else []
    body = nn.Sequential(*expanded, *_normal(width, width, 3, stride, width), *_normal(width, outputs, 1)[:2])

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = body

        def forward(self, x: Any) -> Any:
            return x + self.body(x)

    return Residual() if stride == 1 and inputs == outputs else body
