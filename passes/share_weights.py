"""share-weights: the weights of a layer take a few values, and go on sharing them while they are trained.

Han et al. 2016, "Deep Compression", arXiv:1510.00149, section 3. Batch norm is folded before: a scale for each channel
would make one value many. `quantization.codebooks` has the methods and where they come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..ir.errors import InputError, Problem
from ..ir.facts import (
    BATCHNORM_FOLDED,
    ELEMENTS_PRUNED,
    EXPORTED,
    RECOVERED,
    SPARSE_2_4,
    WEIGHTS_SHARED,
    Aspect,
    Fact,
)
from ..ir.graph import editable, fixed_batch, is_constant, module_names, operator, tensor_of, with_tensors
from ..ir.names import refuse_unknown_names
from ..ir.sharing import ATTACHMENT
from ..quantization.codebooks import FREE, Codebook, Method, Start, codebook
from ..quantization.entropy_coding import coded_bytes
from ..quantization.placement import WEIGHTED, layer_name, matches
from ..quantization.trainable import GRAPH, in_float, untrained
from ..recipe.training import Training
from ..training.schedule import TrainingOptions
from .contract import Context, Lossy, Numerics

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram
    from torch.fx import GraphModule

    from ..ir.state import ModelState
    from ..recipe.schema import Recipe
    from ..targets import Target

FLOAT_BYTES = 4
KEPT = "the recipe keeps it as it is"


@dataclass(frozen=True)
class Wanted:
    """A layer's weights that are to share values: the name of the user's module, and how many values."""

    layer: str
    clusters: int


@dataclass(frozen=True, kw_only=True)
class ShareWeights:
    """The weights of each layer take at most `clusters` values (those of a linear layer `clusters_linear`).

    With `training` values and biases are trained on, the weights of a cluster together (biases alone where the method
    puts values on a grid of its own), by the labels or, with `alpha` and `temperature`, by what the network said
    before. What is zero in a weight stays zero. Modules in `keep` stay as they are, and so do layers that would not
    become smaller.
    """

    clusters: int
    clusters_linear: int
    method: Method = "k-means"
    start: Start = "linear"
    keep: tuple[str, ...] = ()
    training: TrainingOptions | None = None
    temperature: float | None = None
    alpha: float | None = None

    name: ClassVar[str] = "share-weights"
    needs: ClassVar[frozenset[Fact]] = frozenset({EXPORTED, BATCHNORM_FOLDED})
    makes: ClassVar[frozenset[Fact]] = frozenset({WEIGHTS_SHARED})
    touches: ClassVar[frozenset[Aspect]] = frozenset(
        {Aspect.ZEROS, Aspect.VALUES, Aspect.FUNCTION, Aspect.RANGES, Aspect.NUMERICS}
    )
    """NUMERICS: the values must not be held as integers yet."""
    keeps: ClassVar[frozenset[Fact]] = frozenset({EXPORTED, RECOVERED, SPARSE_2_4, ELEMENTS_PRUNED})
    numerics: ClassVar[Numerics] = Lossy("the weights of a layer take few values")
    asks: ClassVar[str | None] = "compress.share_weights"
    decides: ClassVar[str] = "the values, by the weights that share them; which layers, by what it saves"

    @property
    def reads(self) -> frozenset[str]:
        """Training reads the train split."""
        return frozenset() if self.training is None else frozenset({"train"})

    @classmethod
    def for_target(cls, target: Target, recipe: Recipe) -> Self | None:
        """As the recipe asks for it, on every target: what its file is then, `remark` says."""
        asked = recipe.compress.share_weights
        if asked is None:
            return None
        training, distill = None, None
        if asked.train is not None:
            options = asked.train.model_dump(include=set(Training.model_fields))
            training, distill = TrainingOptions(**{**options, "epochs": float(asked.train.epochs)}), asked.train.distill
        return cls(
            clusters=asked.clusters,
            clusters_linear=asked.clusters_linear or asked.clusters,
            method=asked.method,
            start=asked.start,
            keep=asked.keep,
            training=training,
            temperature=distill.temperature if distill else None,
            alpha=distill.alpha if distill else None,
        )

    def remark(self, target: Target) -> str:
        """What this target's file is like, and what is missing."""
        stored = (
            "onnxruntime decodes indices and codebooks when it loads: the file is smaller, the network not faster"
            if target.runtime == "onnxruntime"
            else f"{target.runtime} has no codebooks: the file is smaller when compressed, and not faster"
        )
        return stored if self.training else f"{stored}; compress.share_weights.train would better the values"

    def run(self, state: ModelState, context: Context) -> ModelState:
        program = state.exported_program()
        wanted, tensors = self._wanted(editable(program), context)
        books = {
            name: codebook(tensors[name], each.clusters, self.method, self.start, name) for name, each in wanted.items()
        }
        shared = with_tensors(program, {name: book.weights for name, book in books.items()})
        if self.training is not None:
            shared = self._trained(program, shared, books, context)
        counts = {name: len(book.values) for name, book in books.items()}
        sizes = self._sizes(wanted, books, context)
        summary = {"counts": counts, "is_fixed": self.method not in FREE, "bytes": sizes}
        return replace(state, program=shared).with_attachment(ATTACHMENT, summary)

    def _wanted(self, module: GraphModule, context: Context) -> tuple[dict[str, Wanted], dict[str, Tensor]]:
        """The stored weights that are to share values, by name, and their values; says which are not and why.

        InputError where `keep` names no module, or where no layer would become smaller.
        """
        known = {name for node in module.graph.nodes for name in module_names(node)}
        refuse_unknown_names(self.keep, known, "compress.share_weights.keep")
        wanted: dict[str, Wanted] = {}
        tensors: dict[str, Tensor] = {}
        left: dict[str, str] = {}
        largest = 0
        for node in module.graph.nodes:
            if operator(node) not in WEIGHTED or not is_constant(node.args[1]):
                continue
            name, layer, weight = str(node.args[1].target), layer_name(node), tensor_of(module, node.args[1]).detach()
            clusters = self.clusters_linear if operator(node) == "linear" else self.clusters
            if any(matches(module_names(node), pattern) for pattern in self.keep):
                left[layer] = KEPT
            elif stored_bytes(weight.numel(), clusters) >= FLOAT_BYTES * weight.numel():
                left[layer] = f"its {weight.numel():,} weights are no larger than an index and {clusters:,} values"
                largest = max(largest, weight.numel())
            elif name not in wanted:
                wanted[name], tensors[name] = Wanted(layer, clusters), weight
        for layer, why in left.items():
            context.say(f"{layer} stays as it is: {why}")
        if not wanted:
            expected = f"a codebook smaller than a layer, of which the largest has {largest:,} weights"
            found = f"{self.clusters:,} values ({self.clusters_linear:,} in linear layers)"
            raise InputError(Problem("recipe", "compress.share_weights.clusters", expected, found))
        return wanted, tensors

    def _trained(
        self, before: ExportedProgram, shared: ExportedProgram, books: Mapping[str, Codebook], context: Context
    ) -> ExportedProgram:
        """The program with trained values; resumes from the checkpoints in the step's scratch folder."""
        from ..training.loop import train

        network = in_float(editable(shared), fixed_batch(shared))
        if self.method not in FREE:
            for name in books:
                network.tensors[name].requires_grad_(False)
        result = train(
            network.network,
            context.data,
            context.task,
            self.training or TrainingOptions(0.0),
            seed=context.seed,
            scratch=context.scratch,
            progress=context.progress,
            name=self.name,
            objective=self._objective(before, network.network, context.task),
            shared=[f"{GRAPH}.{name}" for name in books],
        )
        for line in result.lines("the network with shared weights"):
            context.say(line)
        if result.best_epoch == 0:
            context.progress.warn(f"{self.name}: no epoch bettered the values it began with; another rate may")
        return with_tensors(shared, network.tensors)

    def _objective(self, before: ExportedProgram, student: Any, task: str) -> Any:
        """The network from before teaches; None where the labels alone do."""
        from ..training.distillation import Distillation, Teacher
        from ..training.soft_labels import SoftLabels

        if self.temperature is None or self.alpha is None:
            return None
        teacher = Teacher(untrained(editable(before), fixed_batch(before)))
        return Distillation(student, [teacher], SoftLabels(task, self.temperature), self.alpha)

    def _sizes(self, wanted: Mapping[str, Wanted], books: Mapping[str, Codebook], context: Context) -> list[int]:
        """How many bytes all shared weights take as floats, and entropy coded; says it of each layer, too."""
        coded = {name: coded_bytes(book.counts, self._has_index(book)) for name, book in books.items()}
        plain = {name: FLOAT_BYTES * book.index.numel() for name, book in books.items()}
        context.say(f"{len(books)} layers share weights: {_sizes(sum(plain.values()), sum(coded.values()))}")
        for name, book in books.items():
            sizes = _sizes(plain[name], coded[name])
            context.say(f"{wanted[name].layer}: {book.index.numel():,} weights of {len(book.values):,} values: {sizes}")
        return [sum(plain.values()), sum(coded.values())]

    def _has_index(self, book: Codebook) -> bool:
        """Whether the values alone are not enough: a hash tells which weight has which, but not which are zero."""
        return self.method != "hash" or bool((book.values == 0).any())


def stored_bytes(weights: int, clusters: int) -> float:
    """What an index of so many weights and a codebook of floats take: half a byte, one or two for each weight."""
    each = next(size for size, most in ((0.5, 16), (1, 256), (2, 1 << 16)) if clusters <= most)
    return each * weights + FLOAT_BYTES * clusters


def _sizes(plain: int, coded: int) -> str:
    return f"{plain / 1024:.1f} KiB of floats are {coded / 1024:.1f} KiB entropy coded ({plain / coded:.1f}x smaller)"
