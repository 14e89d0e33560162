"""What the scripts of this folder share: sessions that take turns, intervals, and results with where they come from."""

from __future__ import annotations

import functools
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).resolve().parent / "results"
OUT = Path(__file__).resolve().parent / "out"
"""What git does not see: the results of quick runs, and the checkpoints of long ones."""
SETTLING = 10
"""One round in ten at the beginning is not counted."""
CONFIDENCE, RESAMPLES = 0.95, 4000
Numbers = np.ndarray[Any, np.dtype[Any]]


def session(file: Path) -> Any:
    """The ONNX model in onnxruntime's CPU provider, one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def predictions(runner: Any, batches: Iterator[tuple[Numbers, Numbers]]) -> Numbers:
    """The class that the model gives each image of the batches."""
    name = runner.get_inputs()[0].name
    return np.concatenate([runner.run(None, {name: images})[0].argmax(1) for images, _ in batches])


def in_turns(sessions: Sequence[Any], image: Numbers, rounds: int) -> Numbers:
    """Nanoseconds (sessions, rounds) of one inference on `image`, each session once in every round."""
    return calls_in_turns([functools.partial(runner.run, None, {"image": image}) for runner in sessions], rounds)


def calls_in_turns(calls: Sequence[Callable[[], Any]], rounds: int) -> Numbers:
    """Nanoseconds (calls, rounds) of each call, once in every round, right after it was made untimed."""
    taken = np.zeros((len(calls), rounds), np.int64)
    for number in range(rounds):
        for index, call in enumerate(calls):
            call()
            start = time.perf_counter_ns()
            call()
            taken[index, number] = time.perf_counter_ns() - start
    return taken[:, rounds // SETTLING :]


def ratio(candidate: Numbers, baseline: Numbers) -> tuple[float, float, float]:
    """The median of the rounds' ratios and its 95 % bootstrap interval; both were taken in the same rounds."""
    ratios = candidate / baseline
    drawn = np.random.default_rng(0).integers(0, len(ratios), (RESAMPLES, len(ratios)))
    medians = np.median(ratios[drawn], axis=1)
    low, high = np.quantile(medians, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(np.median(ratios)), float(low), float(high)


class Noise:
    """Data of noise of a shape (N, ...), for ranges that some values were seen in."""

    def __init__(self, shape: tuple[int, ...], samples: int) -> None:
        self.shape, self.samples, self.name = shape, samples, "calibration"

    def __len__(self) -> int:
        return self.samples

    def has(self, name: str) -> bool:
        return True

    def split(self, name: str) -> Noise:
        return self

    def batches(self, size: int, *, limit: int | None = None, order_seed: int | None = None) -> Iterator[Any]:
        import torch
        from edgewright.recipe.datasets import Batch

        generator = torch.Generator().manual_seed(0)
        for _ in range(0, len(self), size):
            yield Batch((torch.randn((size, *self.shape[1:]), generator=generator),), torch.arange(size) % 10)


def origin(*distributions: str) -> dict[str, str]:
    """The machine, the day and the versions that numbers belong to."""
    from edgewright.devices.machine import this_machine

    versions = {name: metadata.version(name) for name in distributions}
    found = {"cpu": this_machine().hardware.cpu, "date": date.today().isoformat(), "python": platform.python_version()}
    return {**found, **versions}


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(name: str, text: str, rows: Any, where: dict[str, str], *, quick: bool) -> None:
    """results/NAME.md and NAME.json hold the results and where they come from; the text is printed too.

    A quick run's results go to out/, so that they take no full run's place.
    """
    told = ", ".join(value if key in ("cpu", "date") else f"{key} {value}" for key, value in where.items())
    text = f"{text.rstrip()}\n\n{told}; written by benchmarks/suite/{Path(sys.argv[0]).name}.\n"
    print(text)
    folder = OUT if quick else RESULTS
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    (folder / f"{name}.json").write_text(json.dumps({"origin": where, "rows": rows}, indent=1) + "\n", "utf-8")
