"""torchvision's classification networks beside a torch without CUDA: structures only, random weights."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MOST_PARAMETERS = 30e6
BESIDE_THE_LIST = ("maxvit_t",)
"""Larger, but in the table: its attention over windows and grids is what other tools did not get through."""
SIDE, SIDES = 224, {"inception_v3": 299}
"""Pixels of an image's side that a network is made for."""
CLASSES = 1000
_WITH_BACKWARD = ("roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d")
_OPERATORS = ("nms", "qnms", *_WITH_BACKWARD, *(f"_{name}_backward" for name in _WITH_BACKWARD))
_LIBRARIES: list[Any] = []
"""Declared operators live as long as what declared them."""


def import_models(folder: Path | None) -> Any:
    """`torchvision.models`, from `folder` if one is given. The script ends with 0 and says what it wanted if it can't.

    torchvision's compiled operators want CUDA. The classification networks call none of them, but importing
    torchvision asks that they exist; so their names are declared, with no arguments and nothing behind them.
    """
    import torch

    if folder is not None:
        sys.path.insert(0, str(folder))
    library = torch.library.Library("torchvision", "DEF")
    for name in _OPERATORS:
        library.define(f"{name}() -> ()")
    _LIBRARIES.append(library)
    try:
        from torchvision import models
    except ImportError as error:
        print(f"not run: torchvision can't be imported ({error}); the script's first lines say how to get it")
        sys.exit(0)
    return models


def names(models: Any) -> list[str]:
    """The classification networks that fit, in the list's order, by the sizes that torchvision states for them."""
    stated = {
        name: min(weights.meta["num_params"] for weights in models.get_model_weights(name))
        for name in models.list_models(module=models)
    }
    return [name for name, size in stated.items() if size <= MOST_PARAMETERS or name in BESIDE_THE_LIST]


def plain(models: Any, name: str) -> Any:
    """The network as its constructor leaves it; slow initializers are turned off where the constructor lets us."""
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return models.get_model(name, weights=None, **options)


def parameters(network: Any) -> int:
    return sum(tensor.numel() for tensor in network.parameters())


def side(name: str) -> int:
    return SIDES.get(name, SIDE)


def network(models: Any, name: str) -> Any:
    """The network in evaluation mode, the same each time, with no part that does nothing.

    What constructors set to a constant (scales of normalizations, layer scales of 1e-6, biases, heads of zeros) is
    drawn at random, and running statistics are those of the noise that the network is run on, as a trained network
    has those of its images: signals stay of the order of one through any depth.
    """
    import torch

    torch.manual_seed(0)
    built = plain(models, name).eval()
    for tensor in built.parameters():
        if tensor.numel() > 1 and bool((tensor == tensor.flatten()[0]).all()):
            with torch.no_grad():
                _draw(tensor)
    normalizations = [part for part in built.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]
    for part in normalizations:
        part.momentum, momentum = None, part.momentum
        part.reset_running_stats()
        part.train()
        part.momentum_before = momentum
    if normalizations:
        with torch.no_grad():
            built(images(8, side(name), seed=0))
    for part in normalizations:
        part.momentum = part.momentum_before
        del part.momentum_before
    return built.eval()


def images(count: int, side: int, seed: int) -> Any:
    """(count, 3, side, side) images of noise: every next one is coarser by half, with colours of its own."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    made = []
    for number in range(count):
        coarse = torch.randn(1, 3, side >> number % 6, side >> number % 6, generator=generator)
        fine = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")
        made.append(fine / fine.std() + torch.randn(1, 3, 1, 1, generator=generator))
    return torch.cat(made)


class Noise:
    """Data and split in one: the same images each time, of noise from fine to coarse, so that they differ."""

    def __init__(self, side: int, count: int) -> None:
        self.name, self._side, self._count = "noise", side, count

    def has(self, name: str) -> bool:
        return True

    def split(self, name: str) -> Noise:
        return self

    def __len__(self) -> int:
        return self._count

    def batches(self, size: int, *, limit: int | None = None, order_seed: int | None = None) -> Iterator[Any]:
        import torch
        from edgewright.recipe.datasets import Batch

        for part in images(self._count, self._side, seed=1)[:limit].split(size):
            yield Batch((part,), torch.zeros(len(part), dtype=torch.int64))


def _draw(tensor: Any) -> None:
    import torch

    if float(tensor.flatten()[0]):
        torch.nn.init.uniform_(tensor, 0.5, 1.5)
    elif tensor.dim() == 1:
        torch.nn.init.normal_(tensor, std=0.1)
    else:
        torch.nn.init.normal_(tensor, std=0.02)
