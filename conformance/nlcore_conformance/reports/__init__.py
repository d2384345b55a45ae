"""Verdicts for people and for other programs."""
