"""Every technique on ResNet20: accuracy before and after training, flips, size, latency in onnxruntime, and minutes.

    python benchmarks/suite/techniques.py [--quick] [--data FOLDER] [--target NAME] [--seeds N] [--jobs N]
                                          [--only TEXT] [--table]

Each row is what a recipe with its `compress` makes of the network for the target, once for each seed. Accuracy is that
of the artifacts on the test images; latency is taken in turns in one thread when all are made. A finished row is kept
in out/techniques beside this file with its artifact, one that was killed goes on from its checkpoints, and the table is
of what is there. Writes results/techniques.md and techniques.json.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed

import _cifar
import _technique_table
from _technique_builds import Options, kept, make
from _technique_rows import Row, rows

QUICK = {"images": 2000, "train_images": 1000, "epochs": 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, little training, fewer images")
    _cifar.add_data_option(parser)
    parser.add_argument("--target", default="x86-avx2")
    parser.add_argument("--seeds", type=int, help="how many (default 3)")
    parser.add_argument("--jobs", type=int, default=1, help="rows at a time, each in one thread (default 1)")
    parser.add_argument("--only", default="", metavar="TEXT", help="make only rows with the text in group or name")
    parser.add_argument("--table", action="store_true", help="make no row, only the table of those that are there")
    asked = parser.parse_args()
    _cifar.end_without(asked.data)
    seeds = asked.seeds or (1 if asked.quick else 3)
    options = Options(asked.data, asked.target, **(QUICK if asked.quick else {"images": 10_000}))
    wanted = [] if asked.table else [row for row in rows() if asked.only in f"{row.group}, {row.name}"]
    failed = make_all(wanted, seeds, asked.jobs, options)
    found = {row: kept_seeds(row, seeds, options) for row in rows()}
    if not found[rows()[0]]:
        sys.exit("no table: the first row, to which all are compared, is not made yet")
    _technique_table.write({row: made for row, made in found.items() if made}, options, quick=asked.quick)
    sys.exit(f"{failed} rows failed" if failed else 0)


def make_all(wanted: list[Row], seeds: int, jobs: int, options: Options) -> int:
    """Every wanted row has its artifacts: all rows' first seeds, then the second ones. How many failed."""
    work = [(row, seed) for seed in range(seeds) for row in wanted if seed == 0 or row.is_trained]
    context = multiprocessing.get_context("spawn")
    failed = 0
    with ProcessPoolExecutor(jobs, context, initializer=_one_thread) as pool:
        running = {pool.submit(make, row, seed, options): (row, seed) for row, seed in work}
        for future in as_completed(running):
            row, seed = running[future]
            if (error := future.exception()) is not None:
                failed += 1
                print(f"{row.group}, {row.name}, seed {seed}: failed: {error}", file=sys.stderr, flush=True)
    return failed


def kept_seeds(row: Row, seeds: int, options: Options) -> list[int]:
    """The seeds of which the row is made."""
    return [seed for seed in range(seeds) if kept(row, seed, options)]


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


if __name__ == "__main__":
    main()
