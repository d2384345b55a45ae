"""Adapters that make a Keras layer of another package a backend for the conformance suite."""

from nlcore_keras.adapters.layer_backend import LayerBackend

__all__ = ["LayerBackend"]
