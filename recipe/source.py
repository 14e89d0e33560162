"""The recipe's network: built from the user's code or read from a file, with its weights, proven to run."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..ir.errors import InputError, Problem
from ..ir.state import InputSpec
from .randomness import seeded
from .user_code import describe, folder_of, load_callable, referenced_file, running, split_reference
from .weights import load_weights, read_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .schema import Recipe

_KEY = "model.source"
_OPEN_BATCH = 2
"""How many samples the trial takes where the batch stays open."""


def input_specs(recipe: Recipe) -> tuple[InputSpec, ...]:
    """The network's inputs in the order of its arguments; a batch that the recipe names by a word is None."""
    return tuple(
        InputSpec(name, tuple(size if isinstance(size, int) else None for size in given.shape), given.dtype)
        for name, given in recipe.model.inputs.items()
    )


def load_model(recipe: Recipe) -> nn.Module:
    """The user's network with its weights, in eval mode, having computed one random batch of the recipe's shapes.

    Raises InputError where it cannot be built, the weights do not fit, or it rejects the batch.
    """
    module = build_model(recipe)
    if recipe.model.weights is not None:
        weights = read_weights(recipe.folder / recipe.model.weights, str(recipe.path), "model.weights")
        load_weights(module, weights, str(recipe.path), "model.weights")
    _try(module, recipe)
    return module


def build_model(recipe: Recipe) -> nn.Module:
    """The user's network in eval mode, without the recipe's weights; what it draws at random depends on the seed alone.

    Raises InputError where the source fails or gives something else.
    """
    path = recipe.folder / recipe.model.source
    if split_reference(recipe.model.source) is None:
        return _read_program(path, str(recipe.path)) if path.suffix == ".pt2" else _refuse_onnx(recipe)
    from torch import nn

    build = load_callable(recipe.folder, recipe.model.source, str(recipe.path), _KEY)
    with seeded(recipe.seed):
        module = build()
    if not isinstance(module, nn.Module):
        found = f"a {type(module).__name__} from {recipe.model.source}"
        raise InputError(Problem(str(recipe.path), _KEY, "a torch.nn.Module", found))
    return module.cpu().eval()


def random_inputs(specs: tuple[InputSpec, ...], seed: int) -> tuple[Tensor, ...]:
    """One batch for every input: normally distributed, or zeros where the input takes whole numbers."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(_batch_shape(spec), generator=generator)
        if spec.dtype == "float32"
        else torch.zeros(_batch_shape(spec), dtype=getattr(torch, spec.dtype))
        for spec in specs
    )


def _batch_shape(spec: InputSpec) -> tuple[int, ...]:
    return (spec.batch or _OPEN_BATCH, *spec.sample_shape)


def _try(module: nn.Module, recipe: Recipe) -> None:
    import torch
    from torch.utils._pytree import tree_leaves

    specs = input_specs(recipe)
    given = ", ".join(f"{spec.name} {spec.dtype} {_batch_shape(spec)}" for spec in specs)
    where, expected = str(recipe.path), f"inputs that the network takes ({given})"
    with seeded(recipe.seed), torch.no_grad(), _user_code(recipe, "model.inputs", expected):
        output = module(*random_inputs(specs, recipe.seed))
    leaves = tree_leaves(output)
    if not leaves or not all(isinstance(leaf, torch.Tensor) for leaf in leaves):
        kinds = ", ".join(sorted({type(leaf).__name__ for leaf in leaves})) or "nothing"
        raise InputError(Problem(where, _KEY, "a network that gives tensors", kinds))
    if leaves[0].shape[:1] != _batch_shape(specs[0])[:1]:
        expected = f"an output whose first axis is the batch, {_batch_shape(specs[0])[0]}"
        raise InputError(Problem(where, _KEY, expected, f"the shape {tuple(leaves[0].shape)} for {given}"))
    if torch.isnan(leaves[0]).any():
        raise InputError(Problem(where, "model.weights", f"numbers for a random batch ({given})", "NaN in the output"))


def _user_code(recipe: Recipe, key: str, expected: str) -> AbstractContextManager[None]:
    """What the network raises inside is an InputError, wherever the network comes from."""
    source = recipe.model.source
    file = referenced_file(recipe.folder, source) if split_reference(source) else recipe.folder.resolve() / source
    return running(folder_of(file), str(recipe.path), key, expected)


def _read_program(path: Path, where: str) -> nn.Module:
    """The module of a .pt2 archive. Archives that would run a pickle when they are read are refused."""
    import torch
    from torch.export.pt2_archive import constants

    opaque = getattr(constants, "OPAQUE_OBJ_FILENAME_PREFIX", "opaque_obj_")  # torch has it since 2.12
    pickled = (constants.CUSTOM_OBJ_FILENAME_PREFIX, opaque)
    try:
        with zipfile.ZipFile(path) as archive:
            names = [Path(name).name for name in archive.namelist()]
        if any(name.startswith(pickled) for name in names):
            found = f"'{path.name}', which holds pickled objects; nothing of it was run"
            raise InputError(Problem(where, _KEY, "an exported program of tensors alone", found))
        with _tensors_only():
            module: nn.Module = torch.export.load(path).module()
    except InputError:
        raise
    except Exception as error:
        found = f"'{path.name}': {describe(error, folder_of(path.resolve()))}"
        raise InputError(Problem(where, _KEY, "a file that torch.export.save wrote", found)) from error
    return module


@contextmanager
def _tensors_only() -> Iterator[None]:
    """torch.load reads nothing but tensors, even where torch's own code would let it.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.load.html, environment variables.
    """
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name) if before is None else os.environ.update({name: before})


def _refuse_onnx(recipe: Recipe) -> Any:
    expected = "a network that torch can train and prune: file.py:callable or a .pt2 file"
    found = (
        f"'{recipe.model.source}': reading ONNX files is not supported;"
        " name the code that the file was exported from, or export that network with torch.export.save"
    )
    raise InputError(Problem(str(recipe.path), _KEY, expected, found))
