"""Whole blocks of a network: which can go, what the network is without them, and which matter least."""
