"""Tiny networks, one for each way that channels are tied in real ones. Each takes an image (N, 3, 16, 16)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def _normal(inputs: int, outputs: int, size: int = 3, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class _Ended(nn.Module):
    """Ends in a mean over positions and ten outputs."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.head = nn.Linear(channels, 10)

    def end(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(x.mean((2, 3)))
        return outputs


class Plain(_Ended):
    """A chain of convolutions; the first has a bias and no batch norm."""

    def __init__(self) -> None:
        super().__init__(24)
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second, self.third = _normal(16, 32), _normal(32, 24)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.third(self.second(self.first(x).relu())))


class Flattened(nn.Module):
    """A convolution whose channels become 16 features each of a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.pool = _normal(3, 16), nn.MaxPool2d(4)
        self.hidden, self.head = nn.Linear(16 * 16, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.hidden(self.pool(self.first(x)).flatten(1)).relu())
        return outputs


class Residual(_Ended):
    """Two blocks, the second with a 1x1 convolution as its shortcut (ResNet, option B)."""

    def __init__(self) -> None:
        super().__init__(32)
        self.stem, self.first = _normal(3, 16), nn.Sequential(_normal(16, 16), _normal(16, 16))
        self.second, self.shortcut = nn.Sequential(_normal(16, 32), _normal(32, 32)), nn.Conv2d(16, 32, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.first(x)
        return self.end(self.shortcut(x) + self.second(x))


class PaddedResidual(_Ended):
    """As `Residual` with a parameter-free shortcut, a lambda that pads channels (ResNet, option A)."""

    def __init__(self) -> None:
        super().__init__(32)
        self.stem, self.first = _normal(3, 16), nn.Sequential(_normal(16, 16), _normal(16, 16))
        self.second = nn.Sequential(_normal(16, 32), _normal(32, 32))
        self.shortcut = lambda x: functional.pad(x, (0, 0, 0, 0, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.first(x)
        return self.end(self.shortcut(x) + self.second(x))


class DepthwiseSeparable(_Ended):
    """Depthwise and pointwise convolutions (MobileNet)."""

    def __init__(self) -> None:
        super().__init__(32)
        self.stem, self.depthwise, self.pointwise = _normal(3, 16), _normal(16, 16, groups=16), _normal(16, 32, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.pointwise(self.depthwise(self.stem(x))))


class Grouped(_Ended):
    """A convolution with eight groups, whose two sides have different widths (ResNeXt, RegNet)."""

    def __init__(self) -> None:
        super().__init__(24)
        self.stem, self.grouped, self.last = _normal(3, 32), _normal(32, 64, groups=8), _normal(64, 24, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.last(self.grouped(self.stem(x))))


class Dense(_Ended):
    """Each layer reads all before it, concatenated (DenseNet)."""

    def __init__(self) -> None:
        super().__init__(48)
        self.stem, self.first, self.second = _normal(3, 16), _normal(16, 16), _normal(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.cat([x, self.first(x)], 1)
        return self.end(torch.cat([x, self.second(x)], 1))


class SqueezeExcite(_Ended):
    """Channels are weighed by what their means say (MobileNetV3, EfficientNet)."""

    def __init__(self) -> None:
        super().__init__(24)
        self.stem, self.last = _normal(3, 32), _normal(32, 24)
        self.squeeze, self.excite = nn.Conv2d(32, 16, 1), nn.Conv2d(16, 32, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        weights = self.excite(self.squeeze(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return self.end(self.last(x * weights))


class Shuffled(_Ended):
    """Half of the channels go through a branch, and all are shuffled (ShuffleNetV2)."""

    def __init__(self) -> None:
        super().__init__(32)
        self.stem, self.branch = _normal(3, 32), nn.Sequential(_normal(16, 16), _normal(16, 16))

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.stem(x).chunk(2, 1)
        x = torch.cat([left, self.branch(right)], 1)
        count, channels, height, width = x.shape
        return self.end(x.view(count, 2, channels // 2, height, width).transpose(1, 2).flatten(1, 2))


class Attention(nn.Module):
    """One block of a vision transformer, with attention written out."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Conv2d(3, 32, 4, 4), nn.Parameter(torch.zeros(1, 16, 32))
        self.norm, self.mix, self.join = nn.LayerNorm(32), nn.Linear(32, 96), nn.Linear(32, 32)
        self.second_norm, self.hidden, self.back = nn.LayerNorm(32), nn.Linear(32, 64), nn.Linear(64, 32)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2) + self.place
        count, places, channels = x.shape
        queries, keys, values = (
            self.mix(self.norm(x)).reshape(count, places, 3, 4, channels // 4).permute(2, 0, 3, 1, 4)
        )
        weights = (queries @ keys.transpose(2, 3) / 8**0.5).softmax(3)
        x = x + self.join((weights @ values).transpose(1, 2).reshape(count, places, channels))
        x = x + self.back(functional.gelu(self.hidden(self.second_norm(x))))
        outputs: Tensor = self.head(x.mean(1))
        return outputs


class Perceptron(nn.Module):
    """Linear layers only."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(768, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.layers(x))
        return outputs


class Untraceable(_Ended):
    """The middle convolution lies where autograd does not look, and its channels are counted by the code."""

    def __init__(self) -> None:
        super().__init__(32)
        self.stem, self.hidden, self.last = _normal(3, 16), nn.Conv2d(16, 16, 1), _normal(16, 32)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        with torch.no_grad():
            scale = self.hidden(x).view(len(x), 4, 4, -1).mean((1, 2, 3)).view(-1, 1, 1, 1)
        return self.end(self.last(x * scale))


ALL: tuple[type[nn.Module], ...] = (
    Plain,
    Flattened,
    Residual,
    PaddedResidual,
    DepthwiseSeparable,
    Grouped,
    Dense,
    SqueezeExcite,
    Shuffled,
    Attention,
    Perceptron,
    Untraceable,
)


def random(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    """A network of the kind, in evaluation mode, whose batch norms have seen something."""
    torch.manual_seed(seed)
    network = kind()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.1)
    return network.eval()
