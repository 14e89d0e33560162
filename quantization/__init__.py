"""How values become integers: where quantization goes, which grids hold the values, and how ranges are chosen."""
