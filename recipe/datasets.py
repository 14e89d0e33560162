"""The recipe's data: splits of samples, checked against the network's inputs and read in batches.

The recipe's `data` names a callable that returns a mapping of split names to map-style datasets: `calibration` and
`evaluation`, `train` where a pass trains, and `unlabelled` where a teacher speaks of more samples. A sample is
`(input, label)`: one tensor or array for each input, without the batch axis, and a number or tensor; of `unlabelled` it
may be the input alone. Nothing is read before it is asked for.

A dataset may draw at random from Python's, numpy's or torch's global generators, as the augmentation of a split that is
trained on does: whoever trains seeds them, and reads samples in the process that trains, so that a seed fixes what is
drawn. The other splits must give the same sample each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..ir.errors import InputError, Problem
from ..ir.state import InputSpec
from .randomness import seeded
from .source import input_specs
from .user_code import UserFolder, describe, folder_of, load_callable, referenced_file, running

if TYPE_CHECKING:
    from torch import Tensor

    from .schema import Recipe

UNLABELLED = "unlabelled"
TRAINED_ON = ("train", UNLABELLED)
NEEDED, OPTIONAL = ("calibration", "evaluation"), TRAINED_ON


@dataclass(frozen=True)
class Batch:
    """Some samples: one tensor (N, ...) for each input of the model, in the model's order, and labels (N, ...)."""

    inputs: tuple[Tensor, ...]
    labels: Tensor

    def filled(self, size: int) -> tuple[Tensor, ...]:
        """The inputs of `size` samples, for a network that takes no fewer: the first ones come again."""
        import torch

        missing = size - len(self.labels)
        if missing <= 0:
            return self.inputs
        return tuple(torch.cat([values] * -(-size // len(values)))[:size] for values in self.inputs)


class Split(Protocol):
    """One named set of samples."""

    name: str

    def __len__(self) -> int: ...

    def batches(self, size: int, *, limit: int | None = None, order_seed: int | None = None) -> Iterator[Batch]:
        """Batches of `size` samples (the last may be smaller), `limit` samples at most; shuffled by a seed."""
        ...

    def subset(self, indices: Sequence[int]) -> Split:
        """The samples of these indices alone, in this order, under the same name."""
        ...


class Data(Protocol):
    """The splits that the recipe's data source gave, checked against the model's inputs."""

    def has(self, name: str) -> bool: ...

    def split(self, name: str) -> Split:
        """The named split; InputError where the data source has none of that name."""
        ...


@runtime_checkable
class Dataset(Protocol):
    """What the user gives for a split; torch's map-style datasets are such."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@dataclass
class DatasetSplit:
    """A Split on a user's dataset. Floating-point labels come as float32, all others as int64; zeros for no labels."""

    name: str
    dataset: Dataset
    specs: tuple[InputSpec, ...]
    task: str
    reference: str
    folder: UserFolder
    chosen: tuple[int, ...] | None = None
    """Which of the dataset's samples these are; None where they are all."""
    length: int = field(init=False)

    def __post_init__(self) -> None:
        if self.chosen is not None:
            self.length = len(self.chosen)
            return
        with running(self.folder, self.reference, f"{self.name}.__len__", "the number of samples"):
            self.length = len(self.dataset)
        if self.length < 1:
            raise InputError(Problem(self.reference, self.name, "at least one sample", "an empty split"))

    def __len__(self) -> int:
        return self.length

    def batches(self, size: int, *, limit: int | None = None, order_seed: int | None = None) -> Iterator[Batch]:
        """See Split. A sample that does not fit the network's inputs or is not finite is an InputError naming it."""
        order = self._order(order_seed)[:limit]
        for start in range(0, len(order), size):
            yield self.read(order[start : start + size])

    def subset(self, indices: Sequence[int]) -> DatasetSplit:
        """See Split."""
        own = self._order(None)
        return replace(self, chosen=tuple(own[index] for index in indices))

    def read(self, indices: Sequence[int]) -> Batch:
        """The samples of these indices, in this order."""
        import torch

        with running(self.folder, self.reference, self.name, "a dataset that can be read"):
            samples = [self._sample(index) for index in indices]
        columns = zip(*(inputs for inputs, _ in samples), strict=True)
        inputs = tuple(torch.stack(column) for column in columns)
        labels = self._labels([label for _, label in samples], indices)
        for name, values in zip([*(spec.name for spec in self.specs), "the label"], [*inputs, labels], strict=True):
            self._check_finite(name, values, indices)
        return Batch(inputs, labels)

    def _order(self, seed: int | None) -> list[int]:
        """The dataset's own indices of these samples, shuffled where a seed is given."""
        own = list(range(self.length)) if self.chosen is None else list(self.chosen)
        if seed is None:
            return own
        import torch

        shuffled: list[int] = torch.randperm(self.length, generator=torch.Generator().manual_seed(seed)).tolist()
        return [own[index] for index in shuffled]

    def _sample(self, index: int) -> tuple[list[Tensor], Any]:
        try:
            sample = self.dataset[index]
        except Exception as error:
            raise self._wrong(index, "a sample", describe(error, self.folder)) from error
        if self.name == UNLABELLED:
            sample = (sample[0] if isinstance(sample, tuple | list) and sample else sample, 0)
        if not isinstance(sample, tuple | list) or len(sample) != 2:
            raise self._wrong(index, "a pair (input, label)", _kind(sample))
        given, label = sample
        if not isinstance(given, Mapping):
            given = {self.specs[0].name: given} if len(self.specs) == 1 else {"": given}
        if set(given) != {spec.name for spec in self.specs}:
            names = ", ".join(spec.name for spec in self.specs)
            found = ", ".join(map(str, given)) if "" not in given else _kind(given[""])
            raise self._wrong(index, f"a mapping with the inputs {names}", found)
        return [self._input(index, spec, given[spec.name]) for spec in self.specs], label

    def _input(self, index: int, spec: InputSpec, value: Any) -> Tensor:
        import numpy
        import torch

        if isinstance(value, numpy.ndarray):
            value = torch.from_numpy(numpy.ascontiguousarray(value))
        fits = isinstance(value, torch.Tensor) and value.shape == spec.sample_shape
        if not fits or value.dtype != getattr(torch, spec.dtype):
            expected = f"{spec.name} as {spec.dtype} {spec.sample_shape}, without the batch axis"
            raise self._wrong(index, expected, _kind(value))
        tensor: Tensor = value.detach()
        return tensor

    def _labels(self, values: Sequence[Any], indices: Sequence[int]) -> Tensor:
        import torch

        try:
            labels = [torch.as_tensor(value) for value in values]
        except (TypeError, ValueError, RuntimeError) as error:
            raise self._wrong(indices[0], "labels that are numbers or tensors", str(error)) from error
        for index, label in zip(indices, labels, strict=True):
            if label.shape != labels[0].shape:
                raise self._wrong(index, f"a label of the shape {tuple(labels[0].shape)}", str(tuple(label.shape)))
            is_class = label.ndim == 0 and not label.is_floating_point() and int(label) >= 0
            if self.task == "classification" and not is_class:
                raise self._wrong(index, "a class number as the label", _kind(values[indices.index(index)]))
        stacked = torch.stack(labels)
        return stacked.to(torch.float32 if stacked.is_floating_point() else torch.int64)

    def _check_finite(self, name: str, values: Tensor, indices: Sequence[int]) -> None:
        if values.isfinite().all():
            return
        bad = next(index for index, value in zip(indices, values, strict=True) if not value.isfinite().all())
        raise self._wrong(bad, f"finite numbers in {name}", "NaN or infinity")

    def _wrong(self, index: int, expected: str, found: str) -> InputError:
        return InputError(Problem(self.reference, f"{self.name}[{index}]", expected, found))


@dataclass(frozen=True)
class DataSource:
    """The Data of one recipe."""

    splits: Mapping[str, DatasetSplit]
    reference: str

    def has(self, name: str) -> bool:
        """Whether the data source gave the split."""
        return name in self.splits

    def split(self, name: str) -> DatasetSplit:
        """See Data."""
        if name not in self.splits:
            found = f"only {', '.join(sorted(self.splits))}; return one more dataset under that name"
            raise InputError(Problem(self.reference, name, f"a split '{name}'", found))
        return self.splits[name]


def load_data(recipe: Recipe) -> DataSource:
    """The splits of the recipe's data source; only the first sample of each was read, to check it.

    The source runs under the recipe's seed, and only once in a process while the files that it read are the same.
    Raises InputError where the source fails, a split is missing, unknown or empty, or a first sample does not fit.
    """
    source = load_callable(recipe.folder, recipe.data, str(recipe.path), "data")
    folder = folder_of(referenced_file(recipe.folder, recipe.data))
    key = f"{recipe.data} {recipe.seed}"
    if key not in folder.results:
        with seeded(recipe.seed):
            folder.results[key] = source()
    given = folder.results[key]
    if problems := _wrong_splits(given, recipe.data):
        raise InputError(problems)
    specs = input_specs(recipe)
    splits = {name: DatasetSplit(name, given[name], specs, recipe.task, recipe.data, folder) for name in given}
    for split in splits.values():
        split.read([0])
    return DataSource(splits, recipe.data)


def _wrong_splits(given: Any, reference: str) -> list[Problem]:
    if not isinstance(given, Mapping):
        return [Problem(reference, "", "a mapping of split names to datasets", _kind(given))]
    names = ", ".join((*NEEDED, *OPTIONAL))
    problems = [Problem(reference, name, f"a split '{name}'", "none") for name in NEEDED if name not in given]
    for name, dataset in given.items():
        if name not in (*NEEDED, *OPTIONAL):
            problems.append(Problem(reference, str(name), f"one of the splits {names}", "an unknown split"))
        elif not isinstance(dataset, Dataset):
            problems.append(Problem(reference, name, "a dataset with __len__ and __getitem__", _kind(dataset)))
    return problems


def _kind(value: Any) -> str:
    """A value as messages show it: its type, and where it has them its number format and shape."""
    import torch

    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    shown = repr(value) if isinstance(value, str | int | float | bool | None) else ""
    return f"a {type(value).__name__} {shown}".rstrip()
