"""Networks that the scripts of this folder train themselves: once, kept in out/, by edgewright's own passes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import _cifar
import _measure

FOLDER = _measure.OUT / "networks"
TEACHER = "resnet20_cifar10jpeg_derived"
WIDTHS = (32, 64, 128)
LONG = {"epochs": 30, "learning_rate": 3e-3, "schedule": "one-cycle", "warmup": 0.3, "batch_size": 128}
TAUGHT = {"distill": {**LONG, "alpha": 0.5}}


def wide_resnet(data: Path, train_images: int = 10_000, epochs: int | None = None) -> Any:
    """ResNet20 with twice the channels, trained from random weights by the labels and by ResNet20."""
    return _trained(
        "wide", lambda: _widened(_cifar.network(data, TEACHER)), TAUGHT, _images(data, train_images), data, epochs
    )


def vision_transformer(data: Path, train_images: int = 10_000, epochs: int | None = None) -> Any:
    """A transformer of six layers for CIFAR-10's images, trained as the wide ResNet is."""
    import _transformers

    return _trained("vit", _transformers.VisionTransformer, TAUGHT, _images(data, train_images), data, epochs)


def text_encoder(data: Path) -> Any:
    """A transformer of two layers for `_transformers.sentences`, trained on 20,000 of them."""
    import _transformers

    asked = {"recover": {**LONG, "epochs": 8, "learning_rate": 1e-3}}
    return _trained("text", _transformers.TextEncoder, asked, _cifar.Splits(Sentences(20_000, 0)), data, None)


class Sentences:
    """So many of `_transformers.sentences`, as passes and scripts read a split."""

    def __init__(self, count: int, seed: int) -> None:
        import _transformers

        self.name = f"sentences of seed {seed}"
        words, labels = _transformers.sentences(count, seed)
        self.words, self.labels = words.numpy(), labels.numpy()

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Any) -> Sentences:
        """The samples of these indices alone, in this order."""
        chosen = object.__new__(Sentences)
        chosen.name, chosen.words, chosen.labels = self.name, self.words[list(indices)], self.labels[list(indices)]
        return chosen

    def arrays(self, size: int, limit: int) -> Iterator[tuple[Any, Any]]:
        """Batches of words (N, 32) and labels (N,)."""
        for start in range(0, min(limit, len(self)), size):
            stop = min(start + size, limit)
            yield self.words[start:stop], self.labels[start:stop]

    def batches(self, size: int, *, limit: int | None = None, order_seed: int | None = None) -> Iterator[Any]:
        """The same as tensors."""
        import torch
        from edgewright.recipe.datasets import Batch

        for words, labels in self.arrays(size, len(self) if limit is None else limit):
            yield Batch((torch.from_numpy(words),), torch.from_numpy(labels))


def shortened(asked: Any, most: int | None) -> Any:
    """What a recipe asks for, with at most so many epochs wherever it names some."""
    if most is None or not isinstance(asked, dict):
        return asked
    return {key: min(value, most) if "epochs" in key else shortened(value, most) for key, value in asked.items()}


def _trained(
    name: str, make: Callable[[], Any], asked: Mapping[str, Any], splits: Any, data: Path, epochs: int | None
) -> Any:
    """The network that `make` gives, trained as `asked` (of a recipe's `compress`) says, from seed 0."""
    import torch
    from edgewright.ir.state import InputSpec, ModelState
    from edgewright.passes.contract import Context
    from edgewright.passes.distill import Distill
    from edgewright.passes.recover import Recover
    from edgewright.recipe.schema import Compress, Recipe
    from edgewright.targets import load_target

    torch.manual_seed(0)
    module, scratch = make(), FOLDER / f"{name}-{len(splits.split('train'))}-{epochs or 'all'}"
    scratch.mkdir(parents=True, exist_ok=True)
    file = scratch / "weights.pt"
    with _alone(scratch):
        if not file.is_file():
            recipe: Any = Recipe.model_construct(compress=Compress.model_validate(shortened(dict(asked), epochs)))
            kind: Any = Distill if "distill" in asked else Recover
            step = kind.for_target(load_target("x86-avx2"), recipe)
            teacher = lambda: _cifar.network(data, TEACHER)  # noqa: E731
            context = Context(splits, "classification", 0, scratch, lambda text: None, original=teacher)
            print(f"training {name}", file=sys.stderr, flush=True)
            trained = step.run(ModelState((InputSpec("image", (None,)),), module), context).module
            torch.save(trained.state_dict(), file.with_suffix(".partial"))
            file.with_suffix(".partial").rename(file)
    module.load_state_dict(torch.load(file, weights_only=True))
    return module.eval()


def _images(data: Path, count: int) -> Any:
    plain, augmented = (_cifar.Samples(data, "train", augmented=which) for which in (False, True))
    return _cifar.Splits(plain, train=augmented.subset(range(count)))


def _widened(model: Any) -> Any:
    """A network like the model, with random weights and the widths of WIDTHS."""
    from torch import nn

    block, before = type(model.layer1[0]), WIDTHS[0]
    model.conv1, model.bn1 = nn.Conv2d(3, before, 3, 1, 1, bias=False), nn.BatchNorm2d(before)
    for stage, width in enumerate(WIDTHS):
        first = block(before, width, 1 if stage == 0 else 2)
        setattr(model, f"layer{stage + 1}", nn.Sequential(first, block(width, width, 1), block(width, width, 1)))
        before = width
    model.linear = nn.Linear(before, 10)
    return model


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other process is between its lines for this folder."""
    import fcntl

    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
