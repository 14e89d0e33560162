"""What a person can get wrong about training, and a disk that is full: said, with the right exit code, nothing lost.
All through the real command line."""

from __future__ import annotations

import resource
from collections.abc import Callable
from typing import Any

import pytest

Program = Callable[..., Any]
OTHER_TEACHERS = '''

def wide():
    """Has five outputs where the student has four."""
    network = Net()
    network.head = nn.Linear(32 * 16, 5)
    return network


def flat():
    """Has no layer of the student's names."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
'''


@pytest.fixture
def copy(built: Any, tmp_path: Any) -> Any:
    """A build whose steps are all in the cache, with two more networks beside its own."""
    copied = built.copied(tmp_path)
    with (copied.recipe.parent / "model.py").open("a") as model:
        model.write(OTHER_TEACHERS)
    return copied


@pytest.fixture
def refused(copy: Any, program: Program) -> Callable[..., str]:
    """refused("compress.distill={...}"): what a build with these overrides said on its lines of errors."""

    def run(*overrides: str, code: int = 2, **options: Any) -> str:
        before = sorted(str(path) for path in copy.out.rglob("*"))
        without = ["compress.prune=null", "compress.quantize=null", *overrides]
        ran = program("build", *copy.arguments(), *(part for each in without for part in ("--set", each)), **options)
        assert (ran.code, ran.out) == (code, ""), ran.err
        assert "Traceback" not in ran.err
        assert sorted(str(path) for path in copy.out.rglob("*")) == before
        return "\n".join(line for line in ran.err.splitlines() if line.startswith("error: x86-avx2: "))

    return run


@pytest.mark.parametrize(
    ("distill", "message"),
    [
        (
            "{teacher: {source: model.py:wide}}",
            "compress.distill.teacher: expected the student's outputs, (2, 4), got (2, 5)",
        ),
        (
            "{teacher: {source: model.py:broad}}",
            "compress.distill.teacher.source: expected a callable 'broad' in model.py",
        ),
        (
            "{teacher: {source: model.py:flat, output: 1}}",
            "output: expected a number below 1, for so many outputs it has",
        ),
        ("{hints: [stm.0]}", "compress.distill.hints: expected a layer of the student; did you mean stem.0"),
        (
            "{attention: [stem.0=body.9]}",
            "compress.distill.attention: expected a layer of the teacher; did you mean body.2",
        ),
        ("{samples: both}", "data.py:splits: unlabelled: expected a split 'unlabelled', got only calibration, "),
    ],
)
def test_teachers_layers_and_splits_that_do_not_fit(distill: str, message: str, refused: Callable[..., str]) -> None:
    assert message in refused("compress.recover=null", f"compress.distill={distill}")


def test_a_train_split_that_is_missing(copy: Any, refused: Callable[..., str]) -> None:
    data = copy.recipe.parent / "data.py"
    data.write_text(data.read_text().replace('"train": samples(256, 0), ', ""))
    for override in ("compress.recover={}", "compress.distill={}", "compress.quantize={mode: qat}"):
        others = ["compress.recover=null"] if "recover" not in override else []
        message = refused(*others, override)
        assert "data.py:splits: train: expected a split 'train', got only calibration, evaluation" in message


@pytest.mark.parametrize("processes", [1, 2])
def test_a_disk_that_fills_up_during_a_checkpoint(processes: int, copy: Any, refused: Callable[..., str]) -> None:
    """No file may grow beyond 20 kB, and the weights have 45; the same command then goes on, where there is room."""
    recover = f"compress.recover={{epochs: 2, processes: {processes}}}"
    full = (20_000, 20_000)
    message = refused(recover, code=1, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, full))
    assert message == (
        f"error: x86-avx2: {copy.cache}: could not be written: File too large."
        " Finished steps are kept; mend this and run the build again"
    )
    assert not list((copy.cache / "scratch").glob("*/recover-*/step-*"))
