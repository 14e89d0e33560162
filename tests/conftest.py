"""Fixtures that every room's tests share."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from edgewright.ir.progress import Advance, Silent
from edgewright.ir.state import InputSpec
from edgewright.passes.contract import Context
from edgewright.recipe.datasets import Data, DatasetSplit, DataSource
from edgewright.recipe.schema import Recipe
from edgewright.recipe.user_code import UserFolder
from edgewright.ship import manifest
from edgewright.targets import Target, load_target

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
SMALL_RECIPE = ROOT / "tests" / "small_recipe"
"""A small complete recipe, but for the weights, which a second of training gives."""
PYCACHE = shutil.ignore_patterns("__pycache__")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real networks and data that may lie beside the checkout; skips where it doesn't."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("the shared data folder does not lie beside this checkout")
    return folder


@pytest.fixture(scope="session")
def networks() -> ModuleType:
    """tests/networks.py: tiny networks, one for each way that channels are tied."""
    return _loaded(ROOT / "tests" / "networks.py")


@pytest.fixture(scope="session")
def integer_kernels() -> ModuleType:
    """tests/integer_kernels.py: the interpreters that are here whose integers are known, and what they answer."""
    return _loaded(ROOT / "tests" / "integer_kernels.py")


@pytest.fixture(scope="session")
def quantized_models() -> ModuleType:
    """tests/quantized_models.py: a convolution, quantized as TensorRT wants it or in one of the ways that go wrong."""
    return _loaded(ROOT / "tests" / "quantized_models.py")


@pytest.fixture(scope="session")
def gpu_here_module() -> ModuleType:
    """tests/gpu_here.py: a GPU that keeps its memory in the test's process."""
    return _loaded(ROOT / "tests" / "gpu_here.py")


@pytest.fixture
def host_driver(gpu_here_module: ModuleType) -> Any:
    """A driver of NVIDIA's that keeps the GPU's memory in this process."""
    return gpu_here_module.HostDriver()


@pytest.fixture
def gpu_here(gpu_here_module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """This machine as one with that GPU and with TensorRT; what there is in their place."""
    return gpu_here_module.put_here(monkeypatch)


def _loaded(path: Path) -> ModuleType:
    """The file as a module that no import finds."""
    spec = importlib.util.spec_from_file_location(f"loaded_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for the module of an annotation
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def trained_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of tests/small_recipe with trained weights, for reading: tests change copies of it."""
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("trained") / "recipe"
    shutil.copytree(SMALL_RECIPE, folder, ignore=PYCACHE)
    torch.manual_seed(0)
    module = _loaded(folder / "model.py").build()
    images, labels = _loaded(folder / "data.py").samples(256, 0).tensors
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(images), labels).backward()
        optimizer.step()
    save_file(module.state_dict(), folder / "weights.safetensors")
    return folder


@pytest.fixture
def recipe_file(tmp_path: Path, trained_recipe: Path) -> Path:
    """recipe.yaml of the small recipe in a folder of its own, with everything that it names."""
    shutil.copytree(trained_recipe, tmp_path / "recipe", ignore=PYCACHE)
    return tmp_path / "recipe" / "recipe.yaml"


@dataclass(frozen=True)
class Ran:
    """What a run of the command line left behind."""

    code: int
    out: str
    err: str

    def document(self) -> Any:
        """Standard output as the one JSON document that it has to be."""
        return json.loads(self.out)


PROGRAM = (sys.executable, "-P", "-c", "from edgewright.deploy import main; main()")
"""The real command line in a process of its own, which finds nothing by standing in some folder (-P)."""


def run_program(*arguments: object, under: Sequence[str] = (), **options: Any) -> Ran:
    """What became of the command line with these arguments; `under` is the command that starts it, if not this one."""
    command = [*under, *PROGRAM, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **options)
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def program() -> Callable[..., Ran]:
    """program("build", recipe, cwd=...): a run of the real command line; see `run_program`."""
    return run_program


@dataclass(frozen=True)
class Built:
    """A real build of the small recipe. Tests read it; what they change is a copy."""

    recipe: Path
    out: Path
    cache: Path
    ran: Ran

    @property
    def artifact(self) -> Path:
        """The artifact's folder."""
        return self.out / "x86-avx2"

    def copied(self, folder: Path) -> Built:
        """The same below `folder`, for a test that changes something. Steps that are not touched stay cached."""
        for path in (self.recipe.parent, self.out, self.cache):
            shutil.copytree(path, folder / path.name, ignore=PYCACHE)
        return replace(
            self,
            recipe=folder / self.recipe.parent.name / self.recipe.name,
            out=folder / self.out.name,
            cache=folder / self.cache.name,
        )

    def reseal(self) -> None:
        """The artifact's manifest says of every file what it is now, as one who forges an artifact has it say."""
        file = self.artifact / manifest.FILE
        document = json.loads(file.read_text())
        document["files"] = {name: manifest.entry_of(file.parent / name).model_dump() for name in document["files"]}
        file.write_text(json.dumps(document))

    def arguments(self) -> list[str]:
        """What `build` is told to do the same again."""
        return [str(self.recipe), "--out", str(self.out), "--cache", str(self.cache)]


@pytest.fixture(scope="session")
def built(trained_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """One real build through the command line, with --json. Workers of one test session take its steps in turns."""
    folder = tmp_path_factory.mktemp("built")
    shutil.copytree(trained_recipe, folder / "recipe", ignore=PYCACHE)
    shared = tmp_path_factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    made = Built(folder / "recipe" / "recipe.yaml", folder / "out", shared / "shared-cache", Ran(0, "", ""))
    with (shared / "built.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ran = run_program("build", *made.arguments(), "--json")
        assert ran.code == 0, ran.err
        shutil.copytree(made.cache, folder / "cache")
    return replace(made, cache=folder / "cache", ran=ran)


@pytest.fixture(scope="session")
def built_tflite(trained_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a real TFLite artifact of the small recipe, for reading."""
    folder = tmp_path_factory.mktemp("built-tflite")
    options = ["--out", folder / "out", "--cache", folder / "cache", "--target", "arm64-cortex-a72"]
    ran = run_program("build", trained_recipe / "recipe.yaml", *options)
    assert ran.code == 0, ran.err
    return folder / "out" / "arm64-cortex-a72"


@pytest.fixture(scope="session")
def built_open(trained_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of real artifacts of the small recipe, not pruned and with an open batch, for reading."""
    folder = tmp_path_factory.mktemp("built-open")
    targets = ["--target", "nvidia-rtx-ada", "--target", "x86-avx2"]
    options = ["--out", folder / "out", "--cache", folder / "cache", *targets]
    settings = ["model.inputs.image.shape=[batch,1,8,8]", "compress.prune=null", "compress.recover=null"]
    ran = run_program("build", trained_recipe / "recipe.yaml", *options, *(f"--set={each}" for each in settings))
    assert ran.code == 0, ran.err
    return folder / "out"


@pytest.fixture(scope="session")
def built_tensorrt(built_open: Path) -> Path:
    """The one of them that is for TensorRT, with its baseline."""
    return built_open / "nvidia-rtx-ada"


@pytest.fixture(scope="session")
def tflite_artifact(built_tflite: Path) -> Path:
    """The file of that artifact: an int8 network from (1, 8, 8, 1) to (1, 4)."""
    return built_tflite / "model.tflite"


class Listener(Silent):
    """Remembers what a person was told: `said` in the history, `warnings`, and per task the units that were done."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warnings: list[str] = []
        self.units: dict[str, int] = {}

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Advance]:
        self.units[description] = 0

        def advance(units: int, text: str) -> None:
            self.units[description] += units

        yield advance

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture
def listener() -> Listener:
    """Where `make_context` sends what its pass says, warns about and counts."""
    return Listener()


@pytest.fixture
def target() -> Target:
    """A real profile; variants come from its `model_copy`."""
    return load_target("x86-avx2")


@pytest.fixture(scope="session")
def make_recipe() -> Callable[..., Recipe]:
    """make_recipe(compress={...}, task=...): a recipe whose files nobody opens."""

    def make(**keys: Any) -> Recipe:
        model = {"source": "model.py:build", "inputs": {"image": {"shape": (1, 3, 16, 16)}}}
        document = {"path": Path("recipe.yaml"), "model": model, "data": "data.py:splits", **keys}
        return Recipe.model_validate(document)

    return make


@pytest.fixture
def make_data(tmp_path: Path) -> Callable[..., Data]:
    """make_data(train=(inputs, labels), ...): real splits of tensors whose first axis counts samples, or of a dataset.

    `inputs` may be one tensor or a mapping from the input's name to its tensor.
    """

    def make(task: str = "classification", **splits: Any) -> Data:
        folder = UserFolder(tmp_path, "edgewright_user_tests")
        found = {}
        for name, given in splits.items():
            dataset = Tensors(*given) if isinstance(given, tuple) else given
            found[name] = DatasetSplit(name, dataset, _specs(dataset), task, "data.py:splits", folder)
        return DataSource(found, "data.py:splits")

    return make


@pytest.fixture
def make_context(tmp_path: Path, listener: Listener, make_data: Callable[..., Data]) -> Callable[..., Context]:
    """make_context(task=..., seed=..., scratch=..., train=(inputs, labels)): what a pass is handed."""

    def make(task: str = "classification", seed: int = 0, scratch: Path = tmp_path, **splits: Any) -> Context:
        return Context(make_data(task, **splits), task, seed, scratch, listener.said.append, listener)

    return make


class Tensors:
    """A dataset of tensors, as a user writes one."""

    def __init__(self, inputs: Any, labels: Any) -> None:
        self.inputs, self.labels = inputs, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.inputs, dict):
            return {name: tensor[index] for name, tensor in self.inputs.items()}, self.labels[index]
        return self.inputs[index], self.labels[index]


def _specs(dataset: Any) -> tuple[InputSpec, ...]:
    """The inputs that a network would have which takes the dataset's samples, in batches of any size."""
    given, _ = dataset[0]
    samples = given if isinstance(given, dict) else {"image": given}
    return tuple(
        InputSpec(name, (None, *sample.shape), str(sample.dtype).removeprefix("torch."))
        for name, sample in samples.items()
    )
