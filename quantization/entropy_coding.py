"""How small a layer of shared weights is once its indices are entropy coded.

Huffman 1952, "A Method for the Construction of Minimum-Redundancy Codes"; for weights: Han et al. 2016, "Deep
Compression", arXiv:1510.00149, section 4.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

_VALUE_BYTES = 4
"""A codebook's value is a float32."""


def code_lengths(counts: Sequence[int]) -> list[int]:
    """The bits of each symbol's Huffman code, for symbols that occur so often; 0 for one that does not occur."""
    lengths = [0] * len(counts)
    heap = [(count, place, [place]) for place, count in enumerate(counts) if count]
    if len(heap) == 1:
        lengths[heap[0][1]] = 1
    heapq.heapify(heap)
    while len(heap) > 1:
        (few, place, left), (more, _, right) = heapq.heappop(heap), heapq.heappop(heap)
        for symbol in (*left, *right):
            lengths[symbol] += 1
        heapq.heappush(heap, (few + more, place, left + right))
    return lengths


def coded_bytes(counts: Sequence[int], has_index: bool = True) -> int:
    """What a codebook and Huffman codes of its indices take: the codes, a byte for each code's length, the values.

    Without an index, which a hash can give, the values alone.
    """
    values = len(counts) * _VALUE_BYTES
    if not has_index:
        return values
    bits = sum(count * length for count, length in zip(counts, code_lengths(counts), strict=True))
    return values + len(counts) + -(-bits // 8)
