"""Where channels go when autograd's graph does not say: they are marked, and where the marks come out they are read.

torch-pruning does not see into recurrent layers. So the outputs of a layer are marked with NaN, which stays where it is
in whatever works on each channel alone and spreads where channels are mixed, and the network is run. Each reader (a
linear layer, a convolution, a recurrent layer) tells at which of its inputs marks arrive, and hands on what it would
have given without them. Which channel a mark is of is told by marking half of the channels at a time: once by each
binary digit of their numbers, and once by its opposite.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from ..ir.names import is_within
from .groups import ChannelGroup, Groups, Member, brief
from .recurrent import is_recurrent, why_fixed

if TYPE_CHECKING:
    from torch import Tensor, nn

_MIXED = "what reads its channels mixes them, or reads them in some other way than a layer does"
Marks = dict[str, list[bool]]
"""For each reader, at which of its inputs marks arrive."""


class _Untraced(Exception):
    """The marks came where channels can't be told apart any more; the message says where."""


def find_marked(module: nn.Module, inputs: tuple[Tensor, ...], keep: Collection[str]) -> Groups:
    """The hidden units of recurrent layers, and the channels that such layers read, each with its readers.

    Of a network without recurrent layers nothing. Layers in `keep` (and within modules in it) are not touched.
    """
    recurrent = [name for name, layer in module.named_modules() if is_recurrent(layer)]
    if not recurrent:
        return Groups((), {})
    try:
        tracer = _Tracer(module.eval(), inputs, keep)
    except Exception as error:  # whatever the network raises becomes a stated reason
        return Groups((), dict.fromkeys(recurrent, f"the network can't be run: {brief(error)}"))
    found: list[ChannelGroup] = []
    whole: dict[str, str] = {}
    for name in tracer.readers:
        try:
            group = tracer.group(name)
        except _Untraced as reason:
            whole[name] = str(reason)
            continue
        found.append(group)
    return Groups(tuple(found), {name: why for name, why in whole.items() if name in recurrent})


class _Tracer:
    """Runs one network with marks. Holds what every reader gives without any, call by call."""

    def __init__(self, module: nn.Module, inputs: tuple[Tensor, ...], keep: Collection[str]) -> None:
        self.module, self.inputs, self.keep = module, inputs, keep
        self.readers = [name for name, layer in module.named_modules() if _axis(layer) is not None]
        self.others = [name for name, layer in module.named_modules() if _owns_parameters(layer)]
        self.clean: dict[str, list[Any]] = {name: [] for name in self.readers}

        def remember(name: str) -> Any:
            return lambda layer, given, output: self.clean[name].append(_cloned(output))

        _run(
            module, inputs, [module.get_submodule(name).register_forward_hook(remember(name)) for name in self.readers]
        )

    def group(self, name: str) -> ChannelGroup:
        """The channels of the layer with all that reads them. Raises _Untraced with the reason where it is unclear."""
        self._check(name)
        width = _width(self.module.get_submodule(name))
        reached = {reader: marks for reader, marks in self._marked(name, range(width)).items() if any(marks)}
        if not any(is_recurrent(self.module.get_submodule(end)) for end in (name, *reached)):
            raise _Untraced("no recurrent layer makes or reads its channels")
        codes = {reader: [0] * len(marks) for reader, marks in reached.items()}
        for digit in range((width - 1).bit_length()):
            ones = self._marked(name, [unit for unit in range(width) if unit >> digit & 1])
            zeros = self._marked(name, [unit for unit in range(width) if not unit >> digit & 1])
            for reader, place in ((reader, place) for reader, marks in reached.items() for place in _set(marks)):
                if ones[reader][place] == zeros[reader][place]:
                    raise _Untraced(_MIXED)
                codes[reader][place] |= ones[reader][place] << digit
        members = [Member(name, "out", tuple((unit,) for unit in range(width)))]
        for reader, marks in reached.items():
            places: list[list[int]] = [[] for _ in range(width)]
            for place in _set(marks):
                places[codes[reader][place]].append(place)
            members.append(Member(reader, "in", tuple(map(tuple, places))))
        return ChannelGroup(name, (name,), tuple(members))

    def _check(self, name: str) -> None:
        layer = self.module.get_submodule(name)
        if is_within(name, self.keep):
            raise _Untraced(f"the recipe keeps {name}")
        if is_recurrent(layer) and (why := why_fixed(layer)):
            raise _Untraced(why)
        if len(self.clean[name]) != 1:
            raise _Untraced(f"it is called {len(self.clean[name])} times")

    def _marked(self, source: str, units: Iterable[int]) -> Marks:
        """Where marks on these channels of the layer arrive. Raises _Untraced where something else meets them."""
        from torch.utils._pytree import tree_leaves

        marks: Marks = {name: [False] * _inputs(self.module.get_submodule(name)) for name in self.readers}
        calls = dict.fromkeys(self.readers, 0)
        met: list[str] = []

        def read(name: str) -> Any:
            def hook(layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
                axis = _axis(layer)
                if any(_is_marked(leaf) for leaf in tree_leaves((given[1:], named))):
                    met.append(f"{name} reads them in another way than as its input")
                if not given or axis is None or not _is_marked(given[0]):
                    return
                for place in _places(given[0], axis):
                    marks[name][place] = True

            return hook

        def replay(name: str) -> Any:
            def hook(layer: nn.Module, given: tuple[Any, ...], output: Any) -> Any:
                calls[name] += 1
                clean = _cloned(self.clean[name][calls[name] - 1])
                return _with_marks(layer, clean, list(units)) if name == source else clean

            return hook

        def meet(name: str) -> Any:
            def hook(layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
                if any(_is_marked(leaf) for leaf in tree_leaves((given, named))):
                    met.append(f"{name or 'the network'} (a {type(layer).__name__}) reads them, and is no layer")

            return hook

        part = self.module.get_submodule
        handles = [part(name).register_forward_pre_hook(read(name), with_kwargs=True) for name in self.readers]
        handles += [part(name).register_forward_hook(replay(name)) for name in self.readers]
        handles += [part(name).register_forward_pre_hook(meet(name), with_kwargs=True) for name in self.others]
        try:
            outputs = tree_leaves(_run(self.module, self.inputs, handles))
        except _Untraced:
            raise
        except Exception as error:  # a network that looks at its values
            raise _Untraced(f"the network can't run with marks on its channels: {brief(error)}") from None
        if any(_is_marked(leaf) for leaf in outputs):
            raise _Untraced("its channels are an output of the network")
        met += [
            f"the recipe keeps {name}" for name, found in marks.items() if any(found) and is_within(name, self.keep)
        ]
        if met:
            raise _Untraced(met[0])
        return marks


def _run(module: nn.Module, inputs: tuple[Tensor, ...], handles: list[Any]) -> Any:
    """What the network gives; the hooks are gone afterwards, also where it fails."""
    import torch

    try:
        with torch.no_grad():
            return module(*_cloned(inputs))
    finally:
        for handle in handles:
            handle.remove()


def _axis(layer: object) -> int | None:
    """Which axis of what the layer reads and gives has its channels; None for what is no reader."""
    from torch import nn

    if isinstance(layer, nn.Linear) or is_recurrent(layer):
        return -1
    is_plain = isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d) and layer.groups == 1
    return 1 if is_plain else None


def _inputs(layer: Any) -> int:
    return int(layer.input_size if is_recurrent(layer) else layer.weight.shape[1])


def _width(layer: Any) -> int:
    return int(layer.hidden_size if is_recurrent(layer) else layer.weight.shape[0])


def _owns_parameters(layer: nn.Module) -> bool:
    """Whether it computes with parameters of its own and is no reader."""
    return _axis(layer) is None and any(True for _ in layer.parameters(recurse=False))


def _with_marks(layer: nn.Module, output: Any, units: list[int]) -> Any:
    """What the layer gives, with its channels `units` marked: also in a recurrent layer's last states."""
    import torch
    from torch.utils._pytree import tree_map

    if not is_recurrent(layer):
        output.movedim(_axis(layer) or 0, -1)[..., units] = torch.nan
        return output
    sequence, states = output
    if not isinstance(sequence, torch.Tensor):
        raise _Untraced("its outputs are packed sequences")
    for direction in range(sequence.shape[-1] // _width(layer)):
        sequence[..., [direction * _width(layer) + unit for unit in units]] = torch.nan

    def mark(state: Tensor) -> Tensor:
        state[..., units] = torch.nan
        return state

    return sequence, tree_map(mark, states)


def _is_marked(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor) and value.is_floating_point() and bool(value.isnan().any())


def _places(tensor: Tensor, axis: int) -> list[int]:
    """At which places along the axis there is a mark."""
    found: list[int] = tensor.isnan().movedim(axis, -1).flatten(0, -2).any(0).nonzero().flatten().tolist()
    return found


def _set(marks: list[bool]) -> list[int]:
    return [place for place, is_marked in enumerate(marks) if is_marked]


def _cloned(value: Any) -> Any:
    import torch
    from torch.utils._pytree import tree_map

    return tree_map(lambda leaf: leaf.detach().clone() if isinstance(leaf, torch.Tensor) else leaf, value)
