"""The rows of forms.py: number formats as a recipe asks for them, the networks, and the runtimes with their targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import _cifar
import _self_trained
from _tflite_networks import CASES, Case

FLOAT = "float32"
FORMS: dict[str, Mapping[str, Any]] = {
    FLOAT: {},
    "INT8 static": {"quantize": {}},
    "INT8 static, moving average": {"quantize": {"calibration": {"method": "moving-average"}}},
    "INT8 static, one scale for each tensor": {"quantize": {"weights": {"granularity": "per-tensor"}}},
    "INT8 static, symmetric": {"quantize": {"activations": {"symmetric": True}}},
    "INT8 static, fixed point": {"quantize": {"scales": "power-of-two"}},
    "INT8 static, all repairs": {"quantize": {"repair": "auto"}},
    "INT16 activations": {"quantize": {"activations": {"bits": 16}}},
    "weights of 4 bits": {"quantize": {"weights": {"bits": 4}}},
    "weights of 4 bits, learned rounding": {"quantize": {"weights": {"bits": 4}, "rounding": "adaround"}},
    "INT8 dynamic": {"quantize": {"mode": "dynamic"}},
    "INT8 weights": {"quantize": {"mode": "weight-only"}},
    "weights of 4 bits in groups": {"quantize": {"mode": "weight-only", "weights": {"bits": 4}}},
    "float16 weights": {"quantize": {"precision": "float16"}},
    "64 shared weights": {"share_weights": {"clusters": 64}},
    "16 shared weights, INT8 static": {"share_weights": {"clusters": 16}, "quantize": {}},
    "rank by energy 0.9": {"factorize": {"energy": 0.9}},
}
"""What a recipe's `compress` says, by the form's name. Nothing is trained."""
TRANSFORMERS = ("vit", "text_encoder")
"""The networks whose layer normalizations have no int8 kernels."""
RUNTIMES = {"onnxruntime": "x86-avx2", "TFLite": "arm64-cortex-a72", "TensorRT": "nvidia-jetson-orin"}
"""The target that each runtime's rows are built for."""


def vision_transformer(data: Path, recording: Path) -> Case:
    """A transformer for CIFAR-10's images, trained here."""
    return Case(
        name="vit",
        shape=(1, 3, 32, 32),
        network=lambda: _self_trained.vision_transformer(data),
        calibration=_cifar.Samples(data, "train"),
        evaluation=_cifar.Samples(data, "test"),
        note="trained on 10,000 images alone",
    )


def text_encoder(data: Path, recording: Path) -> Case:
    """A transformer for sentences that are made by a rule, trained here."""
    return Case(
        name="text_encoder",
        shape=(1, 32),
        network=lambda: _self_trained.text_encoder(data),
        calibration=_self_trained.Sentences(512, 2),
        evaluation=_self_trained.Sentences(4000, 1),
        note="sentences made by a rule",
    )


NETWORKS: dict[str, Callable[[Path, Path], Case]] = {
    name: case for name, case in CASES.items() if name != "resnet56_cifar10"
} | {"vit": vision_transformer, "text_encoder": text_encoder}
