"""What a recipe may say about low rank: compress.factorize."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .parts import Names, Part

Method = Literal["auto", "svd", "tucker", "cp"]
By = Literal["energy", "ratio", "rank", "measured"]
_LEAST_ENERGY = 0.9
"""What is kept of a layer's energy at least, where ranks are measured and the recipe does not say."""
_Part = Annotated[float, Field(gt=0, lt=1)]


class Factorize(Part):
    """How layers become products of smaller ones, and by exactly one of energy, ratio and rank how small.

    `energy`: the part of the squared weights that is kept. `ratio`: the part of the layer's multiply-accumulates that
    goes. `rank`: a number for all layers, or `measured`: the fastest on the target.
    """

    method: Method = "auto"
    """How kernels come apart; linear layers and kernels of size one always do by singular values."""
    energy: _Part | None = None
    ratio: _Part | None = None
    rank: Annotated[int, Field(ge=1)] | Literal["measured"] | None = None
    least_energy: _Part | None = None
    """What a measured rank has to keep (0.9 where it is not said)."""
    keep: Names = ()
    only_if_faster: bool = True
    """Whether a layer that was measured and is not faster stays whole."""

    @model_validator(mode="after")
    def _one_amount(self) -> Self:
        given = [key for key in ("energy", "ratio", "rank") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of energy, ratio and rank, not {' and '.join(given) or 'none'}")
        if self.least_energy is not None and self.rank != "measured":
            raise ValueError("rank measured with least_energy; compress.factorize.energy says it without measuring")
        if not self.only_if_faster and self.rank == "measured":
            raise ValueError("only_if_faster true with rank measured, which looks for what is faster")
        return self

    @property
    def amount(self) -> tuple[float, By]:
        """The amount that is given, and in what it is counted; for `measured` the energy to be kept."""
        if self.rank == "measured":
            return self.least_energy or _LEAST_ENERGY, "measured"
        if self.rank is not None:
            return float(self.rank), "rank"
        return (self.energy, "energy") if self.energy is not None else (self.ratio or 0.0, "ratio")
