"""What a microcontroller needs of a TFLite file: operators that its interpreter has, its memory, the file as C source.

TensorFlow Lite Micro runs the file as it stands (https://github.com/tensorflow/tflite-micro); which operators it has
is chosen when it is built, so a profile names them.
"""

from __future__ import annotations

import hashlib
import keyword
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from ...ir.errors import InputError, Problem
from .arena import ALIGNMENT, arena
from .coverage import layer_name
from .file import read
from .graph import Model, Operator, inputs, operators, outputs

_WITHOUT_HYBRID = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL"})
"""Kernels that want values and weights of one kind (tensorflow/lite/micro/kernels/conv_common.cc: "Hybrid models are
not supported on TFLite Micro", and the like)."""
_CODES = frozenset({"int8", "int16", "int4"})
_PER_LINE = 12


def check(file: Path, known: Collection[str]) -> tuple[str, ...]:
    """Why the interpreter would refuse the file: one line for each kind of operator that it lacks or can't run so.

    `known` are the operators that it was built with, in the names of TFLite's schema; custom ones by their own names.
    """
    model = read(file)
    return (*_missing(operators(model), known), *_unfit(operators(model)), *_open(model))


def arena_bytes(file: Path) -> int:
    """How large the tensor arena must be, with CMSIS-NN's kernels: an estimate, as arena.py says."""
    return arena(file).bytes


def flash_bytes(file: Path) -> int:
    """What the model takes of the flash: its file, aligned. The interpreter's code comes on top; no file tells it."""
    return -(-file.stat().st_size // ALIGNMENT) * ALIGNMENT


def write_c_array(file: Path, folder: Path, name: str) -> tuple[Path, Path]:
    """`NAME.h` and `NAME.cc` in the folder hold the file as an aligned constant array `NAME` and its length `NAME_len`.

    The same file gives the same text. InputError where the name is no identifier of C.
    """
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        raise InputError(Problem("the C array", "name", "an identifier (letters, digits, _)", repr(name)))
    content = file.read_bytes()
    header, source = folder / f"{name}.h", folder / f"{name}.cc"
    header.write_text(_header(name, content), encoding="utf-8")
    source.write_text(_source(name, content), encoding="utf-8")
    return header, source


def _missing(steps: Sequence[Operator], known: Collection[str]) -> Iterator[str]:
    for name in sorted({step.name for step in steps} - set(known)):
        yield f"{name} ({_places(steps, name)}): the profile's micro.operators does not have it"


def _unfit(steps: Sequence[Operator]) -> Iterator[str]:
    """Operators that no build runs: float values beside integer weights, or unsigned integers."""
    hybrid = [step for step in steps if step.name in _WITHOUT_HYBRID and _is_hybrid(step)]
    for name in sorted({step.name for step in hybrid}):
        yield f"{name} ({_places(hybrid, name)}): integer weights under float values; ask for mode: static"
    unsigned = [step for step in steps if step.name in _WITHOUT_HYBRID and step.present[0].dtype == "uint8"]
    for name in sorted({step.name for step in unsigned}):
        yield f"{name} ({_places(unsigned, name)}): uint8 values; there are kernels for int8 only"


def _is_hybrid(step: Operator) -> bool:
    return step.outputs[0].dtype == "float32" and any(tensor.dtype in _CODES for tensor in step.present)


def _open(model: Model) -> Iterator[str]:
    for tensor in (*inputs(model), *outputs(model)):
        if any(axis for axis in tensor.open_axes):
            yield f"{tensor.name}: its shape is open; nothing is resized on a microcontroller"


def _places(steps: Sequence[Operator], name: str) -> str:
    found = [layer_name(step) for step in steps if step.name == name]
    return f"at {found[0]}" if len(found) == 1 else f"{len(found)} times, first at {found[0]}"


def _header(name: str, content: bytes) -> str:
    guard = f"{name.upper()}_H_"
    return f"""// A TFLite model of {len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}.
#ifndef {guard}
#define {guard}

#ifdef __cplusplus
extern "C" {{
#endif

extern const unsigned char {name}[{len(content)}];
extern const unsigned int {name}_len;

#ifdef __cplusplus
}}
#endif

#endif  // {guard}
"""


def _source(name: str, content: bytes) -> str:
    lines = [content[start : start + _PER_LINE] for start in range(0, len(content), _PER_LINE)]
    rows = "\n".join("    " + " ".join(f"0x{byte:02x}," for byte in line) for line in lines)
    return f"""#include "{name}.h"

alignas({ALIGNMENT}) const unsigned char {name}[{len(content)}] = {{
{rows}
}};
const unsigned int {name}_len = {len(content)};
"""
