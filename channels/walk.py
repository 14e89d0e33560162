"""Which channels of a network can only go together, as torch-pruning's dependency graph tells it.

The graph is torch-pruning's (Fang et al. 2023, "DepGraph: Towards Any Structural Pruning"); the walk over it is our
own, so that every stop has a name: torch-pruning's walk does not end on some networks, follows channels past a
layer's width on others, and ties the halves of a grouped convolution to each other, not its groups.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..ir.names import is_within
from .groups import ChannelGroup, Groups, Member, Side, brief
from .marks import find_marked

if TYPE_CHECKING:
    from torch import Tensor, nn

_MIXERS = {
    "LN": "a LayerNorm normalises over its channels",
    "GN": "a GroupNorm normalises over blocks of its channels",
    "MHA": "a MultiheadAttention divides its channels among heads",
    "LSTM": "an LSTM carries its channels from step to step",
}
_LAYERS = ("CONV", "DEPTHWISE_CONV", "LINEAR")
_PATIENCE = 16
"""How many couplings each channel may have with each operation, on average, before a walk is given up."""


class _LeftWhole(Exception):
    """The walk met something that keeps these channels from being pruned; the message says what."""


def find_groups(module: nn.Module, inputs: tuple[Tensor, ...], keep: Collection[str] = ()) -> Groups:
    """Every set of tied output channels of layers with products of `module`, a copy that may be changed.

    What goes into or comes out of recurrent layers is found by `marks`, all else in torch-pruning's graph. Layers in
    `keep` (and within modules in it) are not touched on either side.
    """
    import torch_pruning

    marked = find_marked(module, inputs, keep)
    kinds = (torch_pruning.ops.TORCH_CONV, torch_pruning.ops.TORCH_LINEAR)
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, kinds)}
    for parameter in module.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    try:
        walker = _Walker(module, inputs, keep)
    except Exception as error:  # whatever the network or torch-pruning raises becomes a stated reason
        untraced = dict.fromkeys(layers, f"torch-pruning can't trace the network: {brief(error)}")
        names = {group.name for group in marked.found}
        return Groups(
            marked.found, {name: why for name, why in {**untraced, **marked.whole}.items() if name not in names}
        )
    found: list[ChannelGroup] = list(marked.found)
    whole: dict[str, str] = dict(marked.whole)
    seen: set[str] = {group.name for group in found}
    for name, layer in layers.items():
        if name in seen:
            continue
        try:
            group = walker.group(name, layer)
        except _LeftWhole as reason:
            whole[name] = str(reason)
            continue
        found.append(group)
        seen.update(group.layers)
    return Groups(tuple(found), whole)


class _Walker:
    """Walks torch-pruning's graph of one network, channel by channel."""

    def __init__(self, module: nn.Module, inputs: tuple[Tensor, ...], keep: Collection[str]) -> None:
        self.names: dict[Any, str] = {layer: name for name, layer in module.named_modules()}
        self.names.update({parameter: name for name, parameter in module.named_parameters()})
        self.keep = keep
        self.graph, self.opaque = _dependency_graph(module, inputs)

    def group(self, name: str, layer: nn.Module) -> ChannelGroup:
        """The channels tied to the output channels of `layer`. Raises _LeftWhole with the reason."""
        if layer not in self.graph.module2node:
            raise _LeftWhole(
                "it is not called as a module, or autograd records no path from it to an output of the network"
            )
        places = self._walk(layer)
        unit_of = _units(places.values(), self.graph.get_out_channels(layer))
        if max(unit_of) == 0:
            raise _LeftWhole("its channels can only go all together")
        members = [member for key, pairs in places.items() if (member := self._member(*key, pairs, unit_of))]
        members.sort(key=lambda member: (member.module != name, member.side != "out"))
        layers = {self.names[node.module] for node, is_out in places if is_out and node.type.name in _LAYERS}
        return ChannelGroup(name, tuple(sorted(layers)), tuple(members))

    def _walk(self, layer: nn.Module) -> dict[tuple[Any, bool], set[tuple[int, int]]]:
        """For each node and side (True: output) that is reached: pairs (index there, output channel of `layer`)."""
        from torch_pruning import _helpers

        width = self.graph.get_out_channels(layer)
        patience = _PATIENCE * len(self.graph.module2node) * width
        places: dict[tuple[Any, bool], set[tuple[int, int]]] = {}
        start = [_helpers._HybridIndex(index, index) for index in range(width)]
        waiting = [(self.graph.module2node[layer], True, start)]
        while waiting:
            node, is_out, pairs = waiting.pop()
            known = places.setdefault((node, is_out), set())
            new = [pair for pair in dict.fromkeys(pairs) if pair not in known]
            if not new:
                continue
            known.update(new)
            patience -= len(new)
            self._check(node, is_out, new, patience)
            waiting.extend(_whole_blocks(node, is_out, new))
            waiting.extend(self._neighbours(node, is_out, new))
        return places

    def _neighbours(self, node: Any, is_out: bool, pairs: list[Any]) -> Iterator[tuple[Any, bool, list[Any]]]:
        """What the channels `pairs` of one side of `node` are tied to, as the dependency graph has it."""
        pruner = self.graph.get_pruner_of_module(node.module)
        function = pruner.prune_out_channels if is_out else pruner.prune_in_channels
        for dependency in node.dependencies:
            if dependency.is_triggered_by(function):
                target = self.graph.get_pruner_of_module(dependency.target.module)
                yield dependency.target, dependency.handler == target.prune_out_channels, _mapped(dependency, pairs)

    def _check(self, node: Any, is_out: bool, pairs: list[Any], patience: int) -> None:
        """Raises _LeftWhole where the walk may not go on through `node`."""
        name = self.names.get(node.module, "")
        if node in self.opaque:
            raise _LeftWhole(f"torch-pruning can't follow the {node.type.name.lower()} behind it: {self.opaque[node]}")
        if node.type.name == "DEPTHWISE_CONV" and node.module.in_channels != node.module.out_channels:
            raise _LeftWhole(f"{name} reads several channels for each that it gives, in groups of their own")
        if node.type.name == "CONV" and node.module.groups > 1 and node.module.transposed:
            raise _LeftWhole(f"{name} is a transposed convolution with groups")
        if node.type.name in _MIXERS:
            raise _LeftWhole(_MIXERS[node.type.name])
        if is_within(name, self.keep):
            raise _LeftWhole(f"the recipe keeps {name}")
        if node.type.name == "OUTPUT" or (is_out and not node.outputs):
            raise _LeftWhole("its channels are an output of the network")
        width = (self.graph.get_out_channels if is_out else self.graph.get_in_channels)(node) if name else None
        if width is not None and any(pair.idx >= width for pair in pairs):
            raise _LeftWhole(f"it is tied to {name}, which is only {width} wide (padding, slicing or reshaping)")
        if patience < 0 or any(pair.root_idx is None for pair in pairs):
            raise _LeftWhole(
                f"what its channels are tied to could not be followed past {name or 'a ' + node.type.name.lower()}"
            )

    def _member(self, node: Any, is_out: bool, pairs: set[tuple[int, int]], unit_of: list[int]) -> Member | None:
        """What goes of one side of `node`; None for operations without tensors of their own."""
        is_grouped = node.type.name == "CONV" and node.module.groups > 1
        if node.module not in self.names or self.graph.get_out_channels(node) is None or (is_grouped and not is_out):
            return None
        places: list[set[int]] = [set() for _ in range(max(unit_of) + 1)]
        for index, root in pairs:
            places[unit_of[root]].add(index)
        is_parameter = node.type.name == "PARAMETER"
        side: Side = "parameter" if is_parameter else "out" if is_out else "in"
        positions = tuple(tuple(sorted(place)) for place in places)
        return Member(self.names[node.module], side, positions, node.pruning_dim if is_parameter else 0)


def _whole_blocks(node: Any, is_out: bool, pairs: list[Any]) -> Iterator[tuple[Any, bool, list[Any]]]:
    """A grouped convolution loses whole groups: the channels of both sides that go along with `pairs` of one side.

    So the kernel for each group keeps its shape, as with a depthwise convolution, whose groups have one channel.
    """
    if node.type.name != "CONV" or node.module.groups == 1:
        return
    layer = node.module
    sizes = {True: layer.out_channels // layer.groups, False: layer.in_channels // layer.groups}
    blocks = dict.fromkeys((pair.idx // sizes[is_out], pair.root_idx) for pair in pairs)
    for side, size in sizes.items():
        yield node, side, [type(pairs[0])(block * size + k, root) for block, root in blocks for k in range(size)]


def _units(places: Iterable[Iterable[tuple[int, int]]], width: int) -> list[int]:
    """For each of `width` root channels the number of its unit: roots that meet at one place go together."""
    parent = list(range(width))

    def find(root: int) -> int:
        while parent[root] != root:
            parent[root] = parent[parent[root]]
            root = parent[root]
        return root

    for pairs in places:
        first: dict[int, int] = {}
        for index, root in pairs:
            parent[find(root)] = find(first.setdefault(index, root))
    numbers: dict[int, int] = {}
    return [numbers.setdefault(find(root), len(numbers)) for root in range(width)]


def _mapped(dependency: Any, pairs: list[Any]) -> list[Any]:
    try:
        for mapping in dependency.index_mapping:
            pairs = mapping(pairs) if mapping is not None else pairs
    except Exception as error:  # torch-pruning's mappings raise whatever they stumble over
        operation = dependency.source.type.name.lower()
        raise _LeftWhole(f"torch-pruning can't follow the {operation} behind it: {brief(error)}") from None
    return pairs


def _dependency_graph(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Any, dict[Any, str]]:
    """torch-pruning's graph, and the nodes whose index mapping it fails to work out, with its message.

    On its own torch-pruning gives up on the whole network at the first such node (every ShuffleNetV2).
    """
    import torch
    from torch.utils._pytree import tree_leaves
    from torch_pruning import DependencyGraph
    from torch_pruning.dependency import index_mapping

    graph = DependencyGraph()  # type: ignore[no-untyped-call]
    try:
        graph.build_dependency(
            module,
            inputs,
            forward_fn=lambda network, tensors: network(*tensors),
            output_transform=lambda outputs: [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, torch.Tensor)],
            verbose=False,
        )
    except Exception:
        if "module2node" not in vars(graph):
            raise
    mappings = {
        "CONCAT": index_mapping.update_concat_index_mapping,
        "SPLIT": index_mapping.update_split_index_mapping,
        "RESHAPE": index_mapping.update_reshape_index_mapping,
        "UNBIND": index_mapping.update_unbind_index_mapping,
        "EXPAND": index_mapping.update_expand_index_mapping,
        "SLICE": index_mapping.update_slice_index_mapping,
    }
    opaque: dict[Any, str] = {}
    for node in graph.module2node.values():
        if node.type.name in mappings:
            try:
                mappings[node.type.name](graph, node)
            except Exception as error:  # whatever it stumbles over becomes a stated reason
                opaque[node] = brief(error)
    return graph, opaque
