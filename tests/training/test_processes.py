"""Processes that train together: what they add up, what they agree on, and what becomes of one that fails. All real."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from urllib.error import HTTPError

import pytest
import torch
from edgewright.ir.errors import EdgewrightError, InputError, Problem, StepError
from edgewright.ir.progress import Advance
from edgewright.training.processes import ALONE, Group, together
from torch import nn

Found = dict[str, list[float]]


def of_each(tmp_path: Path, size: int, work: Callable[[Group], Found]) -> list[Found]:
    """What the work gave in each process."""

    def kept(group: Group, advance: Advance) -> None:
        torch.save(work(group), tmp_path / f"{group.rank}.pt")

    together(size, kept, lambda units, text: None)
    return [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(size)]


@pytest.mark.parametrize("size", [2, 3])
def test_gradients_and_losses_are_added_up_and_buffers_are_the_first_ones(size: int, tmp_path: Path) -> None:
    def work(group: Group) -> Found:
        used, partly, unused = (nn.Parameter(torch.zeros(2)) for _ in range(3))
        used.grad = torch.tensor([1.0, group.rank])
        if group.rank == 1:
            partly.grad = torch.ones(2)
        real, whole = torch.tensor([float("-inf"), group.rank]), torch.tensor(group.rank + 5)
        loss = group.join([used, partly, unused], [real, whole], 0.5 * group.rank)
        assert unused.grad is None
        gradients = {"used": used.grad.tolist(), "partly": partly.grad.tolist()}  # type: ignore[union-attr]
        return {**gradients, "real": real.tolist(), "whole": [whole.item()], "loss": [loss]}

    ranks = sum(range(size))
    for found in of_each(tmp_path, size, work):
        assert found == {
            "used": [size, ranks], "partly": [1, 1], "real": [float("-inf"), 0], "whole": [5], "loss": [0.5 * ranks],
        }  # fmt: skip


def test_the_first_decides_and_reports(tmp_path: Path) -> None:
    heard: list[tuple[int, str]] = []

    def work(group: Group, advance: Advance) -> None:
        advance(group.rank + 1, "a step")
        (tmp_path / f"{group.rank}").write_text(str(group.is_decided(group.rank == 0)))

    together(2, work, lambda units, text: heard.append((units, text)))
    assert [(tmp_path / f"{rank}").read_text() for rank in range(2)] == ["True", "True"]
    assert heard == [(1, "a step")]


def test_one_alone_adds_nothing_and_asks_nobody() -> None:
    values = torch.ones(2)
    ALONE.add_up([values])
    assert values.tolist() == [1, 1]
    assert ALONE.join([], [], 0.25) == 0.25
    assert ALONE.is_decided(True)
    assert ALONE.is_first


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            InputError(Problem("data", "train[3]", "a sample", "none")),
            InputError,
            r"data: train\[3\]: expected a sample",
        ),
        (StepError("training: the loss is nan"), StepError, "^training: the loss is nan$"),
        (OSError(errno.ENOSPC, "No space left"), OSError, "No space left"),
        (KeyError("a"), StepError, "training, process 2 of 2: KeyError: 'a'"),
        (BrokenPipeError(errno.EPIPE, "the camera is gone"), OSError, "the camera is gone"),
        (
            HTTPError("http://data.test", 500, "no samples", Message(), io.BytesIO()),
            StepError,
            "training, process 2 of 2: HTTPError: HTTP Error 500: no samples",
        ),
    ],
)
def test_what_one_raises_is_raised_and_not_that_the_others_lost_it(
    error: Exception, kind: type[Exception], message: str
) -> None:
    def work(group: Group, advance: Advance) -> None:
        if group.rank == 1:
            raise error
        group.add_up([torch.ones(1)])

    with pytest.raises(kind, match=message):
        together(2, work, lambda units, text: None)


def test_buffers_are_sent_by_their_values_and_not_as_they_lie_in_memory(tmp_path: Path) -> None:
    def work(group: Group) -> Found:
        columns, same = torch.full((3, 4), float(group.rank))[:, :2], torch.ones(1).expand(1000)
        group.join([], [columns, same], 0.0)
        return {"columns": columns.flatten().tolist(), "same": same.unique().tolist()}

    assert of_each(tmp_path, 2, work) == 2 * [{"columns": 6 * [0], "same": [1]}]


def test_one_that_is_done_is_not_waited_for(tmp_path: Path) -> None:
    """A data source's own thread keeps a process from ending."""

    def work(group: Group, advance: Advance) -> None:
        threading.Thread(target=time.sleep, args=(600,)).start()
        (tmp_path / f"{group.rank}").write_text(str(os.getpid()))

    together(2, work, lambda units, text: None)
    assert not [rank for rank in range(2) if is_running(int((tmp_path / f"{rank}").read_text()))]


def test_one_that_ends_before_they_meet_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    meet = torch.distributed.init_process_group

    def dying(*arguments: object, **named: object) -> None:
        if named["rank"] == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        meet(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.distributed, "init_process_group", dying)
    with pytest.raises(StepError, match=r"^training: process 2 of 2 ended without a word"):
        together(2, lambda group, advance: None, lambda units, text: None)


def test_one_that_is_killed_is_named() -> None:
    def work(group: Group, advance: Advance) -> None:
        if group.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        group.add_up([torch.ones(1)])

    with pytest.raises(StepError, match=r"training.* process [12] of 2"):
        together(2, work, lambda units, text: None)


def test_what_the_parent_fails_at_ends_them(tmp_path: Path) -> None:
    def work(group: Group, advance: Advance) -> None:
        (tmp_path / f"{group.rank}").write_text(str(os.getpid()))
        group.add_up([torch.ones(1)])
        advance(1, "")
        time.sleep(60)

    def fail(units: int, text: str) -> None:
        raise EdgewrightError("stop")

    with pytest.raises(EdgewrightError, match="stop"):
        together(2, work, fail)
    assert not [rank for rank in range(2) if is_running(int((tmp_path / f"{rank}").read_text()))]


PARENT = """
import os, sys, time
from pathlib import Path
import torch
from edgewright.training.processes import together

def work(group, advance):
    Path(sys.argv[1], str(group.rank)).write_text(str(os.getpid()))
    while True:
        group.add_up([torch.ones(1)])
        advance(1, "")
        time.sleep(0.01)

together(2, work, lambda units, text: print("going", flush=True))
"""


@pytest.mark.slow
def test_they_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    """Otherwise they would go on writing checkpoints beside the build that goes on from them."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, tmp_path], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"going\n"
    parent.kill()
    parent.wait()
    children = [int((tmp_path / f"{rank}").read_text()) for rank in range(2)]
    until = time.monotonic() + 30
    while any(map(is_running, children)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(is_running, children))


def is_running(process: int) -> bool:
    """Whether the process does anything still; one that ended and waits to be asked for its status does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
