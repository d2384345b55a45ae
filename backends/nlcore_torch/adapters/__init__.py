"""Adapters that make an nn.Module of another package a backend for the conformance suite."""
