"""What a recipe may say about shared weights: compress.share_weights."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from .parts import Names, Part
from .quantization import SoftLabels
from .training import Training

MOST_CLUSTERS = 1 << 16
"""Indices take two bytes at most."""
_FEWEST = {"k-means": 2, "hash": 2, "logarithmic": 3, "piecewise-linear": 8}


class Train(Training):
    """Training in which the weights that share a value move together."""

    distill: SoftLabels | None = None


class ShareWeights(Part):
    """How many values the weights of a layer may take, by its kind, and how these values are found."""

    clusters: int = Field(default=256, ge=2, le=MOST_CLUSTERS)
    clusters_linear: int | None = Field(default=None, ge=2, le=MOST_CLUSTERS)
    """Of linear layers, where they are to have others than convolutions."""
    method: Literal["k-means", "logarithmic", "hash", "piecewise-linear"] = "k-means"
    start: Literal["linear", "density", "random"] = "linear"
    """Where k-means begins."""
    keep: Names = ()
    train: Train | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        fewest = _FEWEST[self.method]
        for key in ("clusters", "clusters_linear"):
            if (given := getattr(self, key)) is not None and given < fewest:
                raise ValueError(f"{key} of {fewest} and more with method {self.method}, not {given}")
        if self.method != "k-means" and self.start != "linear":
            raise ValueError(f"no start with method {self.method}: k-means alone has one")
        if self.method == "hash" and self.train is None:
            raise ValueError("train with method hash: what a hash puts together has nothing else in common")
        return self
