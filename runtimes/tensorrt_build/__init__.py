"""TensorRT: what is written beside the graph, and what its own parser and builder say of the graph."""
