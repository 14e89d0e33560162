"""Convolutions compute with channels last where the network runs so, with the same results."""

from __future__ import annotations

import torch
from edgewright.training.layout import lay_channels_last, lay_contiguous
from torch import nn

IMAGES = torch.arange(2 * 3 * 8 * 8, dtype=torch.float32).reshape(2, 3, 8, 8).sin()


class Viewing(nn.Module):
    """Takes views of its image: of channels that lie last there are none."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3), nn.Linear(4 * 6 * 6, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.linear(self.conv(image).view(len(image), -1))


def is_last(layer: nn.Conv2d) -> bool:
    return layer.weight.is_contiguous(memory_format=torch.channels_last) and not layer.weight.is_contiguous()


def test_convolutions_lie_channels_last_and_so_does_what_they_give() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 4, 3)
    network = nn.Sequential(layer, nn.BatchNorm2d(4), nn.ReLU())
    before = network(IMAGES)
    lay_channels_last(network, lambda: [IMAGES])
    assert is_last(layer)
    after = network(IMAGES)
    assert after.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(after, before)
    lay_contiguous(network)
    assert layer.weight.is_contiguous()


def test_a_network_that_takes_views_across_channels_stays_as_it_was() -> None:
    network = Viewing()
    lay_channels_last(network, lambda: [IMAGES])
    assert network.conv.weight.is_contiguous()
    network(IMAGES).sum().backward()


def test_without_convolutions_no_sample_is_read() -> None:
    lay_channels_last(nn.Linear(3, 2), lambda: 1 / 0)  # type: ignore[arg-type,return-value]


def test_what_was_trained_lies_as_modules_are_made() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3))
    lay_channels_last(network, lambda: [IMAGES])
    stored = network.state_dict()
    lay_contiguous(network)
    assert all(torch.equal(values, stored[name]) for name, values in network.state_dict().items())
