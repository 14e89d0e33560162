"""ModelState: the model between two passes, and how it is stored without a pickle of code."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .bypass import pass_by, swap
from .errors import StepError
from .factors import Factors, assemble
from .facts import FACTS, Fact

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

STATE_FILE, WEIGHTS_FILE, PROGRAM_FILE = "state.json", "weights.safetensors", "program.pt2"


@dataclass(frozen=True)
class InputSpec:
    """One input of the model. `shape` includes the batch axis; a dynamic batch is None in its first place."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample, without the batch axis."""
        return tuple(int(size) for size in self.shape[1:] if size is not None)

    @property
    def batch(self) -> int | None:
        """How many samples one call takes; None where the recipe leaves it open."""
        return self.shape[0]


@dataclass(frozen=True)
class Edit:
    """One structural change to one module of the user's network: new integer attributes and new parameter shapes.

    A module that is `bypassed` is gone: the network goes on with what it was given. One with `factors` is a sequence of
    smaller layers. Replaying a state's edits, in their order, on a freshly built network gives a network into which the
    stored weights fit.
    """

    module: str
    attributes: Mapping[str, int]
    shapes: Mapping[str, tuple[int, ...]]
    bypassed: bool = False
    factors: Factors | None = None


@dataclass(frozen=True)
class Record:
    """What one step did: the pass's text form and what it decided while it ran, with the reasons."""

    step: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelState:
    """What is being built. Holds either the torch module or, once exported, the exported program; never both.

    `attachments` are plain JSON values (ranges, ...). `sha256` is the key of the step that produced the state:
    it stands for everything that went into it.
    """

    inputs: tuple[InputSpec, ...]
    module: nn.Module | None = None
    program: ExportedProgram | None = None
    facts: frozenset[Fact] = frozenset()
    edits: tuple[Edit, ...] = ()
    attachments: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Record, ...] = ()
    sha256: str = ""

    def __post_init__(self) -> None:
        if (self.module is None) == (self.program is None):
            raise StepError("a model state holds a module or an exported program, exactly one of them")

    def torch_module(self) -> nn.Module:
        """The torch module; StepError where the state is already exported."""
        if self.module is None:
            raise StepError("this step works on the torch module, but the model is already exported")
        return self.module

    def exported_program(self) -> ExportedProgram:
        """The exported program; StepError where the state is still a torch module."""
        if self.program is None:
            raise StepError("this step works on the exported graph, but the model is not exported yet")
        return self.program

    def callable_module(self) -> nn.Module:
        """A module that computes what the state computes, whichever stage it is in."""
        if self.module is not None:
            return self.module
        module: nn.Module = self.exported_program().module()
        return module

    def with_attachment(self, name: str, value: Any) -> ModelState:
        """The same state with one attachment more (or replaced)."""
        return replace(self, attachments={**self.attachments, name: value})


def save(state: ModelState, folder: Path) -> None:
    """`folder` (which exists and is empty) holds the state: JSON beside safetensors or a .pt2 archive."""
    if state.module is not None:
        _save_weights(state.module, folder / WEIGHTS_FILE)
    else:
        _save_program(state.exported_program(), folder / PROGRAM_FILE)
    document = {
        "inputs": [asdict(spec) for spec in state.inputs],
        "facts": sorted(fact.name for fact in state.facts),
        "edits": [asdict(edit) for edit in state.edits],
        "attachments": dict(state.attachments),
        "history": [asdict(record) for record in state.history],
        "sha256": state.sha256,
    }
    (folder / STATE_FILE).write_text(json.dumps(document, indent=1, sort_keys=True))


def load(folder: Path, build: Callable[[], nn.Module]) -> ModelState:
    """The state that `save` wrote. `build` makes the user's network anew, before any edit, weights aside."""
    document = json.loads((folder / STATE_FILE).read_text())
    edits = tuple(_edit(entry) for entry in document["edits"])
    module = program = None
    if (folder / PROGRAM_FILE).exists():
        import torch

        register_quantized_operators()
        program = torch.export.load(folder / PROGRAM_FILE)
    else:
        module = apply_edits(build(), edits)
        _load_weights(module, folder / WEIGHTS_FILE)
        module.eval()
    return ModelState(
        inputs=tuple(InputSpec(entry["name"], tuple(entry["shape"]), entry["dtype"]) for entry in document["inputs"]),
        module=module,
        program=program,
        facts=frozenset(_fact(name) for name in document["facts"]),
        edits=edits,
        attachments=document["attachments"],
        history=tuple(Record(entry["step"], tuple(entry["notes"])) for entry in document["history"]),
        sha256=document["sha256"],
    )


def read_history(folder: Path) -> tuple[Record, ...]:
    """The history of a stored state, without loading the model (and so without torch)."""
    document = json.loads((folder / STATE_FILE).read_text())
    return tuple(Record(entry["step"], tuple(entry["notes"])) for entry in document["history"])


def apply_edits(module: nn.Module, edits: tuple[Edit, ...]) -> nn.Module:
    """`module` with every edit applied in place: attributes set, parameters and buffers empty in their new shapes.

    What is bypassed is not there any more: edits within it are refused by torch.
    """
    import torch

    for edit in edits:
        if edit.bypassed:
            pass_by(module, edit.module)
            continue
        if edit.factors is not None:
            swap(module, edit.module, assemble(module.get_submodule(edit.module), edit.factors))
            continue
        owner = module.get_submodule(edit.module)
        for name, value in edit.attributes.items():
            setattr(owner, name, value)
        for name, shape in edit.shapes.items():
            old: Tensor = getattr(owner, name)
            new = torch.empty(shape, dtype=old.dtype)
            is_parameter = isinstance(old, torch.nn.Parameter)
            setattr(owner, name, torch.nn.Parameter(new, old.requires_grad) if is_parameter else new)
    return module


def register_quantized_operators() -> None:
    """torch.ops.quantized_decomposed exists: torch registers it only when this module of its own is imported."""
    import torch.ao.quantization.fx._decomposed  # noqa: F401


def _save_weights(module: nn.Module, path: Path) -> None:
    from safetensors.torch import save as to_bytes

    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in module.state_dict().items()}
    path.write_bytes(to_bytes(tensors))


def _save_program(program: ExportedProgram, path: Path) -> None:
    """The archive is in the file. It is made in memory first: torch ends the whole process where a disk is full."""
    import torch

    archive = io.BytesIO()
    torch.export.save(program, archive)
    path.write_bytes(archive.getbuffer())


def _load_weights(module: nn.Module, path: Path) -> None:
    from safetensors.torch import load_file

    module.load_state_dict(load_file(path), strict=True)


def _edit(entry: Mapping[str, Any]) -> Edit:
    shapes = {name: tuple(shape) for name, shape in entry["shapes"].items()}
    given = entry.get("factors")
    factors = None if given is None else Factors(given["method"], tuple(given["ranks"]))
    return Edit(entry["module"], dict(entry["attributes"]), shapes, entry.get("bypassed", False), factors)


def _fact(name: str) -> Fact:
    for fact in FACTS:
        if fact.name == name:
            return fact
    raise StepError(f"stored state: unknown fact '{name}'; it was written by another version of edgewright")
