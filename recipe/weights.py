"""Trained weights from a file, into the network; a file that holds more than tensors is refused unread."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..ir.errors import InputError, Problem

if TYPE_CHECKING:
    from torch import Tensor, nn

_NAMED = 10
"""How many keys of each kind of mismatch a message names."""
_ADVICE = "to keep the weights alone: torch.save(model.state_dict(), 'weights.pt')"


def read_weights(path: Path, where: str, key: str) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a state dict that torch.save wrote.

    Nothing in the file is run: a pickle that asks for anything but tensors is refused (torch's weights_only=True).
    Raises InputError where the file is no such thing; `where` and `key` say in the message who names the file.
    """
    loaded = _read_safetensors(path, where, key) if path.suffix == ".safetensors" else _read_pickle(path, where, key)
    problem = _not_a_state_dict(loaded, where, key, path.name)
    if problem is not None:
        raise InputError(problem)
    return dict(loaded)


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], where: str, key: str) -> None:
    """The module holds the weights, in its own number format (half becomes float32).

    Raises InputError that names missing, unexpected and differently shaped or typed keys, all at once.
    """
    try:
        if wrong := _wrong_kinds(module.state_dict(), weights):
            raise InputError(Problem(where, key, "weights of the network's kind of number", _listed(wrong)))
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        problems = _mismatches(module.state_dict(), weights, where, key)
        raise InputError(problems or Problem(where, key, "weights that fit the network", str(error))) from error


def _read_safetensors(path: Path, where: str, key: str) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(Problem(where, key, "a safetensors file", f"'{path.name}': {error}")) from error


def _read_pickle(path: Path, where: str, key: str) -> Any:
    import torch

    expected = "a state dict of tensors"
    try:
        with warnings.catch_warnings(action="ignore"):  # what torch warns of here, it refuses next
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        reason = (
            f"because it asks for {asked[1]}, which would run code" if asked else "because torch.save wrote no such"
        )
        found = f"'{path.name}', refused {reason}; nothing of it was run; {_ADVICE}"
        raise InputError(Problem(where, key, expected, found)) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(Problem(where, key, expected, f"'{path.name}': {reason}; {_ADVICE}")) from error


def _not_a_state_dict(loaded: Any, where: str, key: str, name: str) -> Problem | None:
    import torch

    expected = "a state dict: a mapping of names to tensors"
    if not isinstance(loaded, Mapping):
        return Problem(where, key, expected, f"'{name}': a {type(loaded).__name__}; {_ADVICE}")
    others = [str(entry) for entry, value in loaded.items() if not isinstance(value, torch.Tensor)]
    if not others:
        return None
    inner = [entry for entry, value in loaded.items() if isinstance(value, Mapping) and value]
    advice = f"save its '{inner[0]}' alone" if inner else _ADVICE
    return Problem(where, key, expected, f"'{name}': a checkpoint that also holds {_listed(others)}; {advice}")


def _wrong_kinds(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """The keys whose numbers are of another kind: real where whole ones belong, or the other way round."""
    return [
        f"{name} ({given[name].dtype} for {tensor.dtype})"
        for name, tensor in own.items()
        if name in given and given[name].is_floating_point() != tensor.is_floating_point()
    ]


def _mismatches(own: Mapping[str, Tensor], given: Mapping[str, Tensor], where: str, key: str) -> list[Problem]:
    from torch.nn.parameter import is_lazy

    if prefix := _foreign_prefix(own, given):
        advice = f"save it again without: {{name.removeprefix('{prefix}'): ...}}"
        return [Problem(where, key, "the network's own keys", f"keys that all begin with '{prefix}'; {advice}")]
    missing = [name for name in own if name not in given and not name.endswith(".num_batches_tracked")]
    unexpected = [name for name in given if name not in own]
    reshaped = [
        f"{name} {tuple(given[name].shape)} for {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in given and not is_lazy(tensor) and given[name].shape != tensor.shape
    ]
    found = [
        ("a weight for every key of the network", "missing", missing),
        ("keys of the network alone", "unexpected", unexpected),
        ("the network's shapes", "of another shape", reshaped),
    ]
    return [
        Problem(where, key, expected, f"{len(names)} {what}: {_listed(names)}")
        for expected, what, names in found
        if names
    ]


def _foreign_prefix(own: Iterable[str], given: Iterable[str]) -> str:
    """What stands before every given key and before none of the network's ("module." of DataParallel), or nothing."""
    keys, wanted = set(given), set(own)
    parts = min(keys, default="").split(".")
    for count in range(1, len(parts)):
        prefix = ".".join(parts[:count]) + "."
        stripped = {name.removeprefix(prefix) for name in keys}
        if all(name.startswith(prefix) for name in keys) and stripped & wanted and not keys & wanted:
            return prefix
    return ""


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
