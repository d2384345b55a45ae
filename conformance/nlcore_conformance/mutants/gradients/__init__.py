"""Gradients got wrong."""
