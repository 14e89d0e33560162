"""What a recipe may say about training: compress.recover, and what other passes that train share with it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .parts import Part


class Training(Part):
    """How long to train and how; `training.schedule.TrainingOptions` says what each option does."""

    epochs: int = Field(default=2, ge=1)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    batch_size: int = Field(default=64, ge=1)
    warmup: float = Field(default=0.05, ge=0, lt=1)
    patience: int | None = Field(default=None, ge=1)
    schedule: Literal["cosine", "one-cycle", "constant"] = "cosine"
    average: float = Field(default=0.0, ge=0, lt=1)
    parts: int = Field(default=1, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    processes: int = Field(default=1, ge=1, le=256)


class Recover(Training):
    """Short fine-tuning after the structure changed."""
