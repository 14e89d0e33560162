"""What a recipe may say about distillation: compress.distill and everything below it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from .parts import Part, as_tuple, existing
from .references import network_source
from .training import Training
from .user_code import split_reference

ORIGINAL = "original"
"""The source of a teacher that is the recipe's own network before anything was done to it."""


def _teacher_source(value: str, info: ValidationInfo) -> str:
    if value == ORIGINAL:
        return value
    try:
        return network_source(value, info)
    except ValueError as error:
        raise ValueError(f"{ORIGINAL}, or {error}") from None


def _teacher(value: Any) -> Any:
    """A text alone names the source."""
    return {"source": value} if isinstance(value, str) else value


def _teachers(value: Any) -> Any:
    return tuple(_teacher(entry) for entry in value) if isinstance(value, list | tuple) else value


def _layers(value: tuple[str, ...]) -> tuple[str, ...]:
    for layer in value:
        own, _, other = layer.partition("=")
        if not own or "=" in other or layer.endswith("="):
            raise ValueError("names of layers, or name=other where the teacher's has another name")
    return value


class Teacher(Part):
    """A network that teaches: the original, or another with its weights; which of its outputs, and its weight."""

    source: Annotated[str, AfterValidator(_teacher_source)] = ORIGINAL
    weights: Annotated[str, AfterValidator(existing)] | None = None
    output: int = Field(default=0, ge=0)
    share: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.weights is not None and split_reference(self.source) is None:
            raise ValueError(f"no weights: {self.source} has its own")
        return self


Layers = Annotated[tuple[str, ...], BeforeValidator(as_tuple), AfterValidator(_layers)]


class Distill(Training):
    """Training of the compressed network by what teachers say, in place of recover."""

    temperature: float = Field(default=4.0, gt=0)
    alpha: float = Field(default=0.7, gt=0, le=1)
    """The part of the loss that the teachers' outputs have; the labels have the rest, and with 1 are not looked at."""
    samples: Literal["train", "unlabelled", "both"] = "train"
    """Which splits are trained on; of `unlabelled`, samples have no labels, and only teachers say what they are."""
    teacher: Annotated[Teacher, BeforeValidator(_teacher)] | None = None
    teachers: Annotated[tuple[Teacher, ...], BeforeValidator(_teachers)] = ()
    rounds: int = Field(default=1, ge=1, le=10)
    hints: Layers = ()
    attention: Layers = ()
    relational: bool = False
    contrast: bool = False
    hint_weight: float = Field(default=1.0, gt=0)
    attention_weight: float = Field(default=100.0, gt=0)
    relational_weight: float = Field(default=25.0, gt=0)
    contrast_weight: float = Field(default=0.8, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.teacher is not None and self.teachers:
            raise ValueError("one of teacher and teachers")
        if self.samples == "unlabelled" and self.alpha < 1:
            raise ValueError(f"alpha 1 with samples unlabelled, which leave nothing to labels (not {self.alpha:g})")
        if (self.relational or self.contrast) and self.batch_size < 2:
            raise ValueError("a batch_size of 2 or more: samples are compared with each other")
        return self

    @property
    def all_teachers(self) -> tuple[Teacher, ...]:
        """The teachers, of which there is at least one."""
        return self.teachers or (self.teacher or Teacher(),)
