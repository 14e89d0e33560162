"""A small vision transformer and a small text encoder, which the scripts of this folder train themselves."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

WORDS, LENGTH, CLASSES = 64, 32, 4


class Attention(nn.Module):
    """Every token looks at every token: (N, tokens, width) to the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        count, length, width = tokens.shape
        shape = (count, length, 3, self.heads, width // self.heads)
        query, key, value = self.qkv(tokens).reshape(shape).permute(2, 0, 3, 1, 4).unbind(0)
        seen = nn.functional.scaled_dot_product_attention(query, key, value)
        mixed: torch.Tensor = self.out(seen.transpose(1, 2).reshape(count, length, width))
        return mixed


class Layer(nn.Module):
    """One pre-norm layer of a transformer (Dosovitskiy et al. 2021, arXiv:2010.11929, figure 1)."""

    def __init__(self, width: int, heads: int, wide: int = 2) -> None:
        super().__init__()
        self.before_attention, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.before_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, wide * width), nn.GELU(), nn.Linear(wide * width, width))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens + self.attention(self.before_attention(tokens))
        mixed: torch.Tensor = tokens + self.mlp(self.before_mlp(tokens))
        return mixed


class VisionTransformer(nn.Module):
    """Images (N, 3, 32, 32) in patches of 4 x 4, to logits (N, 10) of the mean token."""

    def __init__(self, width: int = 96, depth: int = 6, heads: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.places = nn.Parameter(torch.randn(1, 64, width) * 0.02)
        self.layers = nn.Sequential(*(Layer(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(image).flatten(2).transpose(1, 2) + self.places
        logits: torch.Tensor = self.head(self.norm(self.layers(tokens)).mean(1))
        return logits


class TextEncoder(nn.Module):
    """Words (N, 32), int64 below 64, to logits (N, 4) of the mean token."""

    def __init__(self, width: int = 64, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, width)
        self.places = nn.Parameter(torch.randn(1, LENGTH, width) * 0.02)
        self.layers = nn.Sequential(*(Layer(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        tokens = self.words(words) + self.places
        logits: torch.Tensor = self.head(self.norm(self.layers(tokens)).mean(1))
        return logits


def sentences(count: int, seed: int) -> tuple[Any, Any]:
    """Words (count, 32) and classes (count,): which of four words is followed most often by its partner.

    Each of them is followed by its partner once, that of the class twice, and stands alone elsewhere; so only a network
    that sees which word stands beside which can tell.
    """
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(0, WORDS, (count, LENGTH), generator=generator)
    classes = torch.randint(0, CLASSES, (count,), generator=generator)
    starts = torch.rand((count, LENGTH // 2), generator=generator).argsort(1)[:, : CLASSES + 1] * 2
    rows, pairs = torch.arange(count)[:, None], torch.arange(CLASSES).repeat(count, 1)
    firsts = torch.cat([pairs, classes[:, None]], 1)
    words[rows, starts], words[rows, starts + 1] = firsts, firsts + CLASSES
    return words, classes
