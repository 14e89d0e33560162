from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgewright.ir.state import InputSpec
from edgewright.runtimes.contract import BatchRange
from edgewright.runtimes.tensorrt_build import readme
from edgewright.runtimes.tensorrt_build.settings import Settings, shape_profile

SHAPES = shape_profile([InputSpec("image", (1, 3, 8, 8))], BatchRange())
FIXED = Settings("model.int8.onnx", SHAPES, (), "8.7", "tensorrt-10")


def written(settings: Settings, folder: Path, engine: str = "", beside: str = "") -> str:
    return (folder / readme.write(settings, engine, beside, folder)).read_text()


def test_it_tells_both_ways_to_an_engine(tmp_path: Path) -> None:
    text = written(FIXED, tmp_path)
    assert "    python build_engine.py\n" in text
    assert "    trtexec --onnx=model.int8.onnx --saveEngine=model.engine --stronglyTyped " in text
    assert "Shapes=" not in text
    assert "never been run" not in text


def test_an_open_batch_and_sparsity_are_options(tmp_path: Path) -> None:
    shapes = shape_profile([InputSpec("image", (None, 3, 8, 8)), InputSpec("size", (None, 2))], BatchRange(most=32))
    text = written(replace(FIXED, shapes=shapes, sparse=True), tmp_path)
    assert "--sparsity=enable --minShapes=image:1x3x8x8,size:1x2 --optShapes=" in text
    assert "--maxShapes=image:32x3x8x8,size:32x2\n" in text


def test_an_engine_that_never_ran_says_so(tmp_path: Path) -> None:
    text = written(replace(FIXED, runtime_line="tensorrt-rtx"), tmp_path, "model.engine")
    assert "    tensorrt_rtx --onnx=model.int8.onnx --saveEngine=model.engine\n" in text
    assert "`model.engine` was built where no such GPU was, and has never been run.\n" in text


def test_the_network_in_float16_is_named_with_its_command(tmp_path: Path) -> None:
    assert "float16" not in written(FIXED, tmp_path)
    text = written(FIXED, tmp_path, beside="model.fp16.onnx")
    assert "`model.fp16.onnx` is the same network in float16 throughout, to compare with:\n" in text
    assert "    python build_engine.py --model model.fp16.onnx --out model.fp16.engine\n" in text
