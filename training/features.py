"""What a network computes inside: the outputs of layers, and the features before its last linear layer."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..ir.errors import InputError, Problem

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Place:
    """Where features are taken: a layer's first output, or its first input. The layer "" is the whole network."""

    layer: str
    is_input: bool = False


def checked(layer: str, module: nn.Module, key: str, whose: str) -> Place:
    """The output of the layer; InputError with the nearest names where the network has no layer of that name."""
    known = [name for name, _ in module.named_modules() if name]
    if layer not in known:
        near = difflib.get_close_matches(layer, known, 3, 0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise InputError(Problem("recipe", f"compress.distill.{key}", f"a layer of the {whose}{hint}", repr(layer)))
    return Place(layer)


def embedding_of(module: nn.Module) -> Place:
    """The features that the last linear layer reads; the outputs where there is no such layer."""
    from torch import nn

    linear = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    return Place(linear[-1], is_input=True) if linear else Place("")


@contextmanager
def recorded(module: nn.Module, places: Iterable[Place]) -> Iterator[Mapping[Place, Tensor]]:
    """What was last seen at each place is in the mapping, in float32, once the module has computed."""
    from torch.utils._pytree import tree_leaves

    seen: dict[Place, Tensor] = {}

    def hook(place: Place) -> Any:
        def see(layer: nn.Module, inputs: Any, output: Any) -> None:
            seen[place] = tree_leaves(inputs if place.is_input else output)[0].float()

        return see

    handles = [module.get_submodule(place.layer).register_forward_hook(hook(place)) for place in places]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
