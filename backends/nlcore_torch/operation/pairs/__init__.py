"""Sums over all pairs of positions, without an array of all pairs."""
