"""Fingerprints of the network and of the data: equal where a build would come out equal.

Computing one runs user code and needs torch. So each is kept with the stamps (size and time) of every file that was
read on the way: `watch` hears of them, `code_files` finds those that the code imports or names. As long as no stamp
and no installed package has changed, the kept fingerprint stands and nothing is imported. A data source that draws on
something else (a database, a server) gives its own: a `fingerprint()` method on a split's dataset is asked each time.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..ir.errors import InputError, Problem
from .code_files import code_files, named_files
from .datasets import TRAINED_ON, DatasetSplit, load_data
from .randomness import seeded
from .source import input_specs, load_model
from .user_code import folder_of, referenced_file, running, split_reference
from .watch import Stamps, collecting, is_installed, stamp_of

if TYPE_CHECKING:
    from torch import Tensor

    from .schema import Recipe

_FORMAT = 1
"""Raised whenever fingerprints are computed in another way."""
_READ_AT_ONCE = 64
_READ_AGAIN = 16
"""How many samples are read a second time to see whether they stay as they are."""
_MOST_TRAIN_SAMPLES = 16384
"""Of a train split, whose samples may cost much to augment, at most so many are read, spread evenly."""


@runtime_checkable
class Fingerprinted(Protocol):
    """A dataset that knows by itself whether its samples are still the same."""

    def fingerprint(self) -> str:
        """Text that changes whenever a sample does."""
        ...


def model_fingerprint(recipe: Recipe, memory: Path) -> str:
    """Hex of the network: its code, its structure, its weights, its inputs. `memory` is a folder for kept ones.

    Raises InputError where the network has to be loaded for it and cannot be.
    """
    key = _digest("model", str(recipe.folder), recipe.model.model_dump_json(), recipe.seed)
    known = _recall(memory / f"{key}.json")
    if known is not None:
        return known
    is_code = split_reference(recipe.model.source) is not None
    file = referenced_file(recipe.folder, recipe.model.source) if is_code else recipe.folder / recipe.model.source
    code = code_files(file) if is_code else (file,)
    weights = [recipe.folder / recipe.model.weights] if recipe.model.weights else []
    stamps = _stamps([*code, *named_files(code, file.parent), *weights])
    with collecting() as heard:
        module = load_model(recipe)
    folder = folder_of(file.resolve())
    contents = {Path(path) for path in heard} | set(code) | folder.outside
    fingerprint = _digest(
        recipe.model.source,
        [(path.name, _content(path)) for path in sorted(contents)],
        re.sub(r" at 0x[0-9a-f]+", "", str(module)),
        [(name, str(tensor.dtype), _tensor(tensor)) for name, tensor in sorted(module.state_dict().items())],
        [(spec.name, spec.shape, spec.dtype) for spec in input_specs(recipe)],
    )
    _remember(memory / f"{key}.json", {**_stamps(folder.outside), **folder.stamps, **heard, **stamps}, fingerprint)
    return fingerprint


def data_fingerprint(recipe: Recipe, split: str, memory: Path) -> str:
    """Hex of every sample and label of the split, in order (of one that is trained on: under the recipe's seed).

    Raises InputError where a sample cannot be read or does not fit, or where samples of a split that is not trained on
    change between two reads.
    """
    file = referenced_file(recipe.folder, recipe.data)
    inputs = [(spec.name, spec.shape, spec.dtype) for spec in input_specs(recipe)]
    key = _digest("data", str(recipe.folder), recipe.data, split, inputs, recipe.task, recipe.seed)
    known = _recall(memory / f"{key}.json")
    if known is not None:
        return known
    code = code_files(file)
    stamps = _stamps([*code, *named_files(code, file.parent)])
    with collecting() as heard:
        samples = load_data(recipe).split(split)
        if isinstance(samples.dataset, Fingerprinted):
            return _given(samples, samples.dataset)
        fingerprint = _digest(inputs, _samples(samples, recipe.seed))
    folder = folder_of(file)
    _remember(memory / f"{key}.json", {**_stamps(folder.outside), **folder.stamps, **heard, **stamps}, fingerprint)
    return fingerprint


def _given(split: DatasetSplit, dataset: Fingerprinted) -> str:
    with running(split.folder, split.reference, f"{split.name}.fingerprint()", "text"):
        given = dataset.fingerprint()
    return _digest("given", split.name, str(given))


def _samples(split: DatasetSplit, seed: int) -> str:
    is_train = split.name in TRAINED_ON
    step = -(-len(split) // _MOST_TRAIN_SAMPLES) if is_train else 1
    indices = range(0, len(split), step)
    again = indices[:: -(-len(indices) // _READ_AGAIN)]
    total = hashlib.sha256(str(len(split)).encode())
    first: dict[int, str] = {}
    with seeded(seed):
        for start in range(0, len(indices), _READ_AT_ONCE):
            digests = _read(split, indices[start : start + _READ_AT_ONCE])
            total.update("".join(digests.values()).encode())
            first.update((index, digests[index]) for index in digests if index in again)
        second = first if is_train else _read(split, again)
    if changed := [str(index) for index in first if second[index] != first[index]]:
        expected = "samples that stay the same (or a dataset with fingerprint(), which is then asked instead)"
        found = f"others in a second read: sample {', '.join(changed)}, of {len(first)} that were read twice"
        raise InputError(Problem(split.reference, split.name, expected, found))
    return total.hexdigest()


def _read(split: DatasetSplit, indices: range) -> dict[int, str]:
    """The digest of each sample."""
    batch = split.read(indices)
    return {
        index: _digest([_tensor(values[place]) for values in (*batch.inputs, batch.labels)])
        for place, index in enumerate(indices)
    }


def _tensor(tensor: Tensor) -> str:
    import torch

    values = tensor.detach().cpu().contiguous()
    return hashlib.sha256(values.reshape(-1).view(torch.uint8).numpy().data).hexdigest()


def _content(path: Path) -> str:
    """The digest of a file's bytes, or of a folder's names."""
    if not path.is_file():
        return stamp_of(str(path))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps([_FORMAT, *parts]).encode()).hexdigest()


def _stamps(files: Iterable[Path]) -> Stamps:
    paths = [str(path.absolute()) for path in files]
    return {path: stamp_of(path) for path in paths if not is_installed(path)}


def _environment() -> str:
    """Changes with Python and every installed package; their files are not stamped one by one."""
    folders = sorted(folder for folder in sys.path if folder.endswith("-packages") and os.path.isdir(folder))
    packages = sorted(name for folder in folders for name in os.listdir(folder) if name.endswith("-info"))
    return _digest(platform.python_version(), packages)


def _recall(path: Path) -> str | None:
    """The fingerprint that was kept there, if nothing that it rests on has changed. A damaged file counts as none."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        environment, fingerprint, stamps = kept["environment"], str(kept["fingerprint"]), dict(kept["stamps"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    is_fresh = environment == _environment() and all(stamp_of(file) == stamp for file, stamp in stamps.items())
    return fingerprint if is_fresh else None


def _remember(path: Path, stamps: Mapping[str, str], fingerprint: str) -> None:
    """The fingerprint is kept, in one piece or not at all. Files that are gone again do not count."""
    lasting = {file: stamp for file, stamp in sorted(stamps.items()) if not stamp or stamp_of(file)}
    kept = {"environment": _environment(), "fingerprint": fingerprint, "stamps": lasting}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".new", delete=False) as file:
            json.dump(kept, file)
        os.replace(file.name, path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(Problem(str(path.parent), "", "a folder that can be written", reason)) from error
