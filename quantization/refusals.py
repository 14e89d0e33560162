"""What a placement can be refused for, in words that say what to change."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from ..ir.errors import InputError, Problem
from ..ir.graph import module_names
from .placement import KEPT, Placement, layer_name, matches

if TYPE_CHECKING:
    from torch.fx import GraphModule


def refuse_unknown(module: GraphModule, keep_float: tuple[str, ...]) -> None:
    """InputError where the recipe keeps what the network has not, with the nearest names."""
    known = {name for node in module.graph.nodes for name in module_names(node)}
    problems = []
    for name in keep_float:
        if not matches(known, name):
            near = difflib.get_close_matches(name, sorted(known), 3)
            hint = f" (did you mean {' or '.join(near)}?)" if near else ""
            expected = "the name of a module of the network"
            problems.append(Problem("recipe", "compress.quantize.keep_float", expected, f"'{name}'{hint}"))
    if problems:
        raise InputError(problems)


def refuse_nothing(placement: Placement) -> None:
    """InputError where no layer would be computed in int8."""
    if placement.layers:
        return
    reasons = [f"{name}: {reason}" for name, reason in placement.left_float.items()]
    found = "; ".join(reasons[:5]) + (f"; and {len(reasons) - 5} more" if len(reasons) > 5 else "")
    expected = "a layer with weights that can be computed in int8 (or no compress.quantize)"
    raise InputError(Problem("recipe", "compress.quantize", expected, found or "a network without such layers"))


def refuse_float(module: GraphModule, placement: Placement) -> None:
    """InputError where something would be computed in float, by layers' names."""
    nodes = {node.name: node for node in module.graph.nodes}
    found = [f"{name}: {reason}" for name, reason in placement.left_float.items() if reason != KEPT]
    found += [f"{layer_name(nodes[name])}: no int8 kernel for {kind}" for name, kind in placement.islands.items()]
    if not found:
        return
    shown = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
    expected = (
        "operators that all have int8 kernels on the target; replace these in the network, or let them stay in float:"
        " compress.quantize.allow_float: true"
    )
    raise InputError(Problem("recipe", "compress.quantize", expected, shown))
