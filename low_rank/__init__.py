"""Layers as products of smaller ones: which can be, how their weights come apart, and at which rank."""
