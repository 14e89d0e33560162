"""The version of each operator of a TFLite file, and the oldest runtime that runs them.

A runtime refuses an operator whose version it does not know; one that claims too low a version is run by kernels that
never saw its types, and the result is garbage without a word. So a version is that of the newest feature which the
operator uses (features.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .features import FEATURES
from .graph import Model, Operator, builtin_number, operators, text

_PLACEHOLDER = 127
"""Stands in the older field of operators that it is too small for (schema.fbs, PLACEHOLDER_FOR_GREATER_OP_CODES)."""
METADATA, METADATA_BYTES = "min_runtime_version", 16
"""The entry that TFLite's converter writes, and how long its text is, filled up with zeros (runtime_version.cc)."""

FIRST = {"BROADCAST_TO": 2}
"""Operators whose first version was withdrawn."""

NO_RELEASE = "-"
DENSE_PER_CHANNEL = "2.14"
"""The oldest release in which dense layers with one int8 scale for each output were run and found right."""
RELEASES = {
    "ABS": "1.13 2.4 2.5 2.6 2.12",
    "ADD": "1.5 1.14 2.4 2.6 2.13 2.23",
    "ARG_MAX": "1.9 1.14 2.9",
    "ARG_MIN": "1.9 1.14 2.9",
    "AVERAGE_POOL_2D": "1.5 1.14 2.3",
    "BATCH_MATMUL": "2.3 2.3 2.4 2.5",
    "BATCH_TO_SPACE_ND": "1.6 1.14 2.3 2.12",
    "BROADCAST_ARGS": "2.6",
    "BROADCAST_TO": "- 2.5 2.5",
    "CAST": "1.5 2.7 2.8 2.9 2.12 2.15 2.17 2.21",
    "CEIL": "1.14",
    "CONCATENATION": "1.5 1.14 2.3 2.14 2.21",
    "CONV_2D": "1.5 1.14 1.14 2.3 2.4 2.9 2.11 2.15",
    "COS": "1.14",
    "CUMSUM": "2.4",
    "DEPTHWISE_CONV_2D": "1.5 1.12 1.14 2.2 2.3 2.3 2.11",
    "DEPTH_TO_SPACE": "2.1 2.5",
    "DEQUANTIZE": "1.13.1 1.14 1.15 2.2 2.7 2.18 2.21 2.22",
    "DIV": "1.6 2.3",
    "ELU": "1.14",
    "EMBEDDING_LOOKUP": "1.13 1.14 1.14 2.18 2.21",
    "EQUAL": "1.14 1.14 2.3 2.13 2.21",
    "EXP": "1.7 2.12",
    "EXPAND_DIMS": "1.10",
    "FILL": "1.13 2.3 2.5 2.12",
    "FLOOR": "1.9",
    "FULLY_CONNECTED": "1.5 1.10 1.14 1.14 2.0 2.1 2.3 2.3 2.3 2.11 2.15 2.17 2.18 2.21",
    "GATHER": "1.6 1.14 1.15 2.4 2.5 2.13 2.15",
    "GATHER_ND": "1.14 2.3 2.5 2.13 2.16",
    "GELU": "2.9 2.9",
    "GREATER": "1.14 1.14",
    "GREATER_EQUAL": "1.14 1.14 2.13",
    "HARD_SWISH": "1.15",
    "L2_NORMALIZATION": "1.5 1.14",
    "LEAKY_RELU": "1.13.1 2.3",
    "LESS": "1.14 1.14 2.13",
    "LESS_EQUAL": "1.14 1.14",
    "LOG": "1.14 2.15",
    "LOGICAL_AND": "1.11",
    "LOGICAL_NOT": "1.11",
    "LOGICAL_OR": "1.11",
    "LOGISTIC": "1.14 1.14 2.3",
    "LOG_SOFTMAX": "1.14 1.14",
    "MAXIMUM": "1.14 1.14 2.3 2.3",
    "MAX_POOL_2D": "1.5 1.14 2.3",
    "MEAN": "1.6 1.14 2.4",
    "MINIMUM": "1.14 1.14 2.3 2.3",
    "MIRROR_PAD": "1.13.1 2.3 2.12",
    "MUL": "1.5 1.14 1.15 2.3 2.6 2.11 2.13 2.23",
    "NEG": "1.9",
    "NOT_EQUAL": "1.14 1.14 2.3 2.21",
    "PACK": "1.11 1.14 2.3 2.13",
    "PAD": "1.5 1.14 2.4 2.6 2.20",
    "PADV2": "1.9 1.14 2.4 2.6 2.20",
    "POW": "1.10",
    "PRELU": "1.8",
    "QUANTIZE": "1.14 1.15 2.7 2.21 2.21 2.21",
    "REDUCE_MAX": "1.11 1.14 2.5",
    "REDUCE_MIN": "1.11 1.14 2.5",
    "RELU": "1.5 2.1 2.5",
    "RELU6": "1.5 1.14 2.5",
    "RELU_0_TO_1": "2.10",
    "RELU_N1_TO_1": "1.5",
    "RESHAPE": "1.5",
    "RESIZE_BILINEAR": "1.7 1.14 2.2 2.5",
    "RESIZE_NEAREST_NEIGHBOR": "1.13.1 1.14 2.3 2.4",
    "ROUND": "1.14",
    "RSQRT": "1.10 2.5 2.15",
    "SELECT": "1.14 1.14 2.12 2.12",
    "SELECT_V2": "2.2 2.12",
    "SHAPE": "1.10",
    "SIN": "1.9",
    "SLICE": "1.14 1.14 1.14 2.4 2.5 2.14 2.21",
    "SOFTMAX": "1.5 1.14 2.3",
    "SPACE_TO_BATCH_ND": "1.6 1.14 2.3 2.12",
    "SPACE_TO_DEPTH": "1.5 1.14",
    "SPLIT": "1.5 1.14 1.14 2.3",
    "SPLIT_V": "1.13.1 2.3",
    "SQRT": "1.10 2.21",
    "SQUARE": "1.12",
    "SQUARED_DIFFERENCE": "1.13.1 2.5",
    "SQUEEZE": "1.6 2.5",
    "STRIDED_SLICE": "1.6 1.14 2.1 2.2 2.5 2.6 2.14 2.14",
    "SUB": "1.6 1.14 2.3 2.4 2.4",
    "SUM": "1.10 1.15",
    "TANH": "1.14 1.14 2.3",
    "TILE": "1.10.1 2.2 2.8",
    "TOPK_V2": "1.7 1.14 2.13",
    "TRANSPOSE": "1.6 1.14 1.15 2.3 2.4 2.12 2.14.4 2.22",
    "TRANSPOSE_CONV": "1.9 2.2 2.3 2.13 2.15",
    "UNPACK": "1.11 1.14 2.2 2.3 2.22",
    "WHERE": "1.14 2.8",
    "ZEROS_LIKE": "1.12",
}
"""By operator: the release of TensorFlow that brought its version 1, 2, and so on.

https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/tools/versioning/runtime_version.cc
(03f49db5).
"""


@dataclass(frozen=True)
class LowestRuntime:
    """The oldest runtime that runs a file, what asks for it, and the operators of which no release is known."""

    version: str
    because: str
    unknown: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.version} ({self.because})"


def set_versions(model: Model) -> None:
    """Each operator has the lowest version that says all it uses; one that no table knows keeps its own.

    Changes the model: operators of one kind with different versions have operator codes of their own.
    """
    from ai_edge_litert import schema_py_generated as schema

    places: dict[tuple[int, str, int], int] = {}
    codes: list[Any] = []
    for operator in operators(model):
        raw = model.subgraphs[operator.subgraph].operators[operator.index]
        old = model.operatorCodes[raw.opcodeIndex]
        number, version = builtin_number(old), lowest_version(operator)
        key = (number, text(old.customCode), version)
        if key not in places:
            places[key] = len(codes)
            codes.append(schema.OperatorCodeT(min(number, _PLACEHOLDER), old.customCode, version, number))
        raw.opcodeIndex = places[key]
    model.operatorCodes = codes


def lowest_version(operator: Operator) -> int:
    """The version of the newest feature that the operator uses; its own where no table knows its features."""
    if operator.is_custom or operator.name not in RELEASES:
        return operator.version
    features = FEATURES.get(operator.name, ())
    return max((version for version, feature in features if feature(operator)), default=FIRST.get(operator.name, 1))


def lowest_runtime(model: Model) -> LowestRuntime:
    """The oldest runtime that runs the model as its versions say, with the operator that asks for it."""
    version, because, unknown = "1.5.0", "no operator asks for a newer one", set()
    for operator in operators(model):
        release = _release(operator)
        if release is None:
            unknown.add(operator.name)
        elif _order(release) > _order(version):
            version, because = release, f"{operator.name} version {operator.version}"
    return LowestRuntime(version, because, tuple(sorted(unknown)))


def write_lowest_runtime(model: Model) -> LowestRuntime:
    """The model's metadata names the oldest runtime that runs it. Changes the model."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    lowest = lowest_runtime(model)
    content = np.frombuffer(lowest.version.encode().ljust(METADATA_BYTES, b"\0"), np.uint8)
    model.metadata = [entry for entry in model.metadata if text(entry.name) != METADATA]
    model.metadata.append(schema.MetadataT(METADATA, len(model.buffers)))
    model.buffers.append(schema.BufferT(content))
    return lowest


def _release(operator: Operator) -> str | None:
    """The release whose kernels run the operator; None where it is not known."""
    releases = RELEASES.get(operator.name, "").split()
    if operator.is_custom or not 0 < operator.version <= len(releases):
        return None
    release = releases[operator.version - 1]
    if release == NO_RELEASE:
        return None
    if _is_dense_per_channel(operator):
        release = max(release, DENSE_PER_CHANNEL, key=_order)
    return release if release.count(".") == 2 else f"{release}.0"


def _is_dense_per_channel(operator: Operator) -> bool:
    """Whether a dense integer layer has one scale for each output: no version of the operator says so."""
    weights = operator.inputs[1] if operator.name == "FULLY_CONNECTED" else None
    return weights is not None and len(weights.scales) > 1


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
