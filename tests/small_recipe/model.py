"""A network that tells which quarter of an image is bright; the lambda is what no pickle and no script can hold."""

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
