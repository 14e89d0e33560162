"""Several processes on one machine that train one network: each takes a part of every step's samples.

They are forked, so that they have what the caller has, whether or not it can be pickled. Each computes in one thread:
OpenMP's threads do not survive a fork. They add up their gradients through gloo, on the machine's own loopback.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..ir.errors import EdgewrightError, StepError
from ..ir.progress import Advance

if TYPE_CHECKING:
    from torch import Tensor, nn

_PATIENCE_SECONDS = 10.0
"""How long the others may take to end by themselves once one has failed."""
_WAITING = timedelta(days=7)
"""How long one waits for another, which may be held up as long as its data source is."""


@dataclass(frozen=True)
class Group:
    """The processes of a run, and which of them this is; the first one writes and reports."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Each tensor is the sum of what all processes have in its place."""
        import torch
        from torch import distributed

        by_type: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors if self.size > 1 else ():
            by_type.setdefault(tensor.dtype, []).append(tensor)
        for same in by_type.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in same])
            distributed.all_reduce(flat)
            for tensor, part in zip(same, torch.split(flat, [tensor.numel() for tensor in same]), strict=True):
                tensor.copy_(part.reshape(tensor.shape))

    def is_decided(self, is_so: bool) -> bool:
        """What the first process says."""
        import torch
        from torch import distributed

        if self.size == 1:
            return is_so
        answer = torch.tensor([float(is_so)])
        distributed.broadcast(answer, 0)
        return bool(answer)

    def join(self, parameters: Sequence[nn.Parameter], buffers: Sequence[Tensor], loss: float) -> float:
        """Gradients are the sums of all processes', buffers those of the first; the sum of their losses.

        A parameter that got no gradient anywhere has none.
        """
        import torch
        from torch import distributed

        if self.size == 1:
            return loss
        has_gradient = torch.tensor([float(parameter.grad is not None) for parameter in parameters])
        gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
        total = torch.tensor([loss], dtype=torch.float64)
        with torch.no_grad():
            self.add_up([has_gradient, total, *gradients])
            for buffer in buffers:
                first = buffer.contiguous()  # gloo sends memory as it lies, whatever the strides
                distributed.broadcast(first, 0)
                if first is not buffer and not torch.equal(first, buffer):
                    buffer.copy_(first)
        for parameter, gradient, has in zip(parameters, gradients, has_gradient.tolist(), strict=True):
            parameter.grad = gradient if has else None
        return float(total)


ALONE = Group()
Work = Callable[[Group, Advance], None]


def together(size: int, work: Work, advance: Advance) -> None:
    """`work` has run through in so many copies of this process; what the first of them reports goes to `advance`.

    Raises what the work raised, as EdgewrightError, OSError, or StepError where it was something else or a process
    ended without a word.
    """
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        receivers: list[Connection] = []
        processes: list[Any] = []
        try:
            for rank in range(size):
                receiver, sender = context.Pipe(duplex=False)
                receivers.append(receiver)
                arguments = (Group(rank, size), work, Path(folder) / "meeting", sender, tuple(receivers))
                process: Any = context.Process(target=_run, args=arguments, daemon=True)
                with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
                    process.start()
                processes.append(process)
                sender.close()
            errors = _listen(receivers, advance)
        finally:
            for process in processes:
                process.kill()
                process.join()
    if errors:
        raise min(errors, key=_rank_of)


class _Lost(StepError):
    """A process that maybe another one failed, or that ended without a word; said where nobody knows better."""


def _rank_of(error: BaseException) -> int:
    return int(isinstance(error, _Lost))


def _listen(receivers: Sequence[Connection], advance: Advance) -> list[BaseException]:
    """What went wrong, once every process is done or has had its time to end after another's failure."""
    open_ones: dict[Any, int] = dict(zip(receivers, range(1, len(receivers) + 1), strict=True))
    errors: list[BaseException] = []
    until = float("inf")
    while open_ones and time.monotonic() < until:
        for receiver in wait(list(open_ones), _PATIENCE_SECONDS):
            try:
                message: Any = receiver.recv()  # type: ignore[call-arg, union-attr]
            except EOFError:
                message = _Lost(_ended(open_ones[receiver], len(receivers)))
            if isinstance(message, tuple):
                advance(*message)
                continue
            del open_ones[receiver]
            if isinstance(message, BaseException):
                errors.append(message)
                until = min(until, time.monotonic() + _PATIENCE_SECONDS)
    return errors


def _ended(number: int, size: int) -> str:
    return f"training: process {number} of {size} ended without a word: was it killed, or out of memory?"


def _run(group: Group, work: Work, meeting: Path, sender: Connection, receivers: Sequence[Connection]) -> None:
    """What a process does; it ends with its parent, for then what it sends breaks."""
    import torch
    from torch import distributed

    for receiver in receivers:
        receiver.close()
    message: str | Exception = "done"
    try:
        torch.set_num_threads(1)
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        store = distributed.FileStore(  # type: ignore[attr-defined]
            str(meeting), group.size
        )
        distributed.init_process_group("gloo", store=store, rank=group.rank, world_size=group.size, timeout=_WAITING)
        work(group, lambda units, text: sender.send((units, text)) if group.is_first else None)
    except KeyboardInterrupt:
        os._exit(1)
    except Exception as error:
        message = _told(error, f"process {group.rank + 1} of {group.size}")
    try:
        sender.send(message)
    except BrokenPipeError:  # the parent is gone
        os._exit(1)


def _told(error: Exception, who: str) -> Exception:
    """The error, or what says the same where it is none that the caller expects or can't be sent.

    Of a RuntimeError nobody knows whether it is the network's or gloo's that lost another process.
    """
    kind = _Lost if isinstance(error, RuntimeError) else StepError
    told = kind(f"training, {who}: {type(error).__name__}: {error}")
    if not isinstance(error, EdgewrightError | OSError):
        return told
    try:
        return error if isinstance(pickle.loads(pickle.dumps(error)), type(error)) else told
    except Exception:  # whatever the pickling of others' errors raises
        return told
