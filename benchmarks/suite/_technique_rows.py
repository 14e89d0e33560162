"""The rows of techniques.py: what each asks of edgewright, as the `compress` of a recipe says it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

RESNET20, WIDE, RESNET56 = "resnet20_cifar10jpeg_derived", "wide", "resnet56_cifar10"
TRAIN = {"epochs": 3, "learning_rate": 3e-3, "schedule": "one-cycle", "warmup": 0.3, "batch_size": 128}
"""How every row trains after it was pruned, unless it says something else."""
STAGES = ["layer1", "layer2", "layer3"]
HALF = {"flops": 0.5}
FLOAT, INT8, LABELS = "float32", "INT8", "labels (recover)"
REFERENCES, CRITERIA, HOW, TEACHING, ROUNDING = "references", "criteria", "granularity", "teaching", "rounding"
MIXES, LARGER = "mixes", "larger networks"
QAT_RATES = {7: 1e-5, 4: 3e-4}
"""Learning rates of training with rounding. With 7 bits a large one loses what the network knows."""


@dataclass(frozen=True, eq=False)
class Row:
    """One technique: its group, its name and what it asks for; `weight_bits`: of weights with one scale per tensor."""

    group: str
    name: str
    compress: Mapping[str, Any]
    network: str = RESNET20
    weight_bits: int | None = None
    is_trained: bool = True
    """Whether the seed says anything."""
    is_mixed: bool = False
    """Whether it trains on images that are mixed in pairs, of which only a teacher knows what they show."""


@functools.cache
def rows() -> tuple[Row, ...]:
    """Every technique, references first."""
    return (*references(), *criteria(), *granularity(), *teaching(), *rounding(), *mixes(), *larger())


def references() -> list[Row]:
    return [
        Row(REFERENCES, FLOAT, {}, is_trained=False),
        Row(REFERENCES, INT8, {"quantize": {}}, is_trained=False),
    ]


def criteria() -> list[Row]:
    """The same part of the multiply-accumulates goes, by each criterion."""
    learned = ("slimming", "group-l2")
    names = ("l1", "l2", "batchnorm", "taylor", "geometric-median", "entropy", "random", *learned)
    return [Row(CRITERIA, name, _recovered({**HALF, "criterion": name})) for name in names]


def granularity() -> list[Row]:
    """What goes, and in how many steps."""
    steps = {"steps": 4, "recover_epochs": 1}
    asked: dict[str, dict[str, Any]] = {
        "l2 in 4 linear steps": {**HALF, **steps},
        "l2 in 4 cubic steps": {**HALF, **steps, "schedule": "cubic"},
        "l2, each layer alike": {**HALF, "scope": "per-layer"},
        "blocks": {**HALF, "granularity": "block"},
        "80 % of single weights": {"weights": 0.8, "granularity": "element"},
        "single weights below 0.05": {"threshold": 0.05, "granularity": "element"},
    }
    return [Row(HOW, name, _recovered(prune)) for name, prune in asked.items()]


def teaching() -> list[Row]:
    """The same student, taught in different ways."""
    second = {"source": "resnet_cifar.py:resnet56", "weights": f"{RESNET56}.pt"}
    ways: dict[str, dict[str, Any]] = {
        "soft labels": {},
        "soft labels alone": {"alpha": 1.0},
        "soft labels, temperature 1": {"temperature": 1.0},
        "images without labels": {"alpha": 1.0, "samples": "unlabelled"},
        "hints": {"hints": STAGES},
        "hints of weight 100": {"hints": STAGES, "hint_weight": 100.0},
        "attention": {"attention": STAGES},
        "attention of weight 1000": {"attention": STAGES, "attention_weight": 1000.0},
        "relations": {"relational": True},
        "contrast": {"contrast": True},
        "two teachers": {"teachers": [{"source": "original", "share": 3.0}, second]},
        "two born-again rounds": {"rounds": 2},
    }
    prune = {**HALF, "criterion": "l2"}
    taught = [Row(TEACHING, name, _taught(prune, way)) for name, way in ways.items()]
    return [Row(TEACHING, LABELS, _recovered(prune)), *taught]


def rounding() -> list[Row]:
    """Weights of one scale for each tensor, in seven bits and in four, of the whole network."""
    methods: dict[str, dict[str, Any]] = {
        "learned steps (LSQ)": {"method": "lsq"},
        "moving averages": {"method": "moving-average"},
        "LSQ, taught by the float network": {"method": "lsq", "distill": {}},
    }
    found = []
    for bits, rate in QAT_RATES.items():
        alone = {"quantize": {"mode": "static"}}
        found.append(Row(ROUNDING, f"{bits} bits, calibration alone", alone, weight_bits=bits, is_trained=False))
        learned = {"quantize": {"rounding": "adaround"}}
        found.append(Row(ROUNDING, f"{bits} bits, learned rounding", learned, weight_bits=bits, is_trained=False))
        for name, method in methods.items():
            train = {"epochs": 2, "learning_rate": rate, "batch_size": 64, **method}
            asked = {"quantize": {"mode": "qat", "train": train}}
            found.append(Row(ROUNDING, f"{bits} bits, {name}", asked, weight_bits=bits))
    return found


def mixes() -> list[Row]:
    """Several at once, with more training: what a user would build."""
    long, mixed = {"epochs": 40, "alpha": 0.9}, {"epochs": 40, "alpha": 1.0}
    trained = {"quantize": {"mode": "qat", "train": {"epochs": 1, "learning_rate": QAT_RATES[7], "distill": {}}}}
    return [
        Row(MIXES, "half the channels, taught for long", _taught({**HALF, "criterion": "l2"}, long)),
        Row(MIXES, "the same, then LSQ", {**_taught({**HALF, "criterion": "l2"}, long), **trained}),
        Row(MIXES, "a third of the channels, taught for long", _taught({"flops": 0.33, "criterion": "l2"}, long)),
        Row(MIXES, "half the blocks, taught for long", _taught({**HALF, "granularity": "block"}, long)),
        Row(MIXES, "three blocks, taught for long", _taught({"blocks": 3, "granularity": "block"}, long)),
        Row(MIXES, "half the channels, mixed images", _taught({**HALF, "criterion": "l2"}, mixed), is_mixed=True),
    ]


def larger() -> list[Row]:
    """A network with something to remove, which the script trains itself, and one whose paper bar is known."""
    long = {"epochs": 40, "alpha": 0.9}
    published = {"flops": 1 - 1 / 2.13, "criterion": "l2"}
    mixed = {"epochs": 24, "alpha": 1.0, "teacher": {"source": "resnet_cifar.py:resnet20", "weights": f"{RESNET20}.pt"}}
    return [
        Row(LARGER, "wide, float32", {}, WIDE, is_trained=False),
        Row(LARGER, "wide, INT8", {"quantize": {}}, WIDE, is_trained=False),
        Row(LARGER, "wide, 70 % of its MACs", _taught({"flops": 0.7, "criterion": "l2"}, long), WIDE),
        Row(LARGER, "wide, 80 % of its MACs", _taught({"flops": 0.8, "criterion": "l2"}, long), WIDE),
        Row(
            LARGER,
            "wide, 85 % of its MACs, mixed images, by ResNet20",
            _taught({"flops": 0.85, "criterion": "l2"}, mixed),
            WIDE,
            is_mixed=True,
        ),
        Row(LARGER, "ResNet56, float32, trained on as the next", {"recover": {**TRAIN, "epochs": 20}}, RESNET56),
        Row(LARGER, "ResNet56, 2.13 times fewer MACs", _taught(published, {"epochs": 20}), RESNET56),
    ]


def _recovered(prune: Mapping[str, Any]) -> dict[str, Any]:
    return {"prune": dict(prune), "recover": TRAIN, "quantize": {}}


def _taught(prune: Mapping[str, Any], way: Mapping[str, Any]) -> dict[str, Any]:
    return {"prune": dict(prune), "distill": {**TRAIN, **way}, "quantize": {}}
