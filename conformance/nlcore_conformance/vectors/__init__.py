"""Test vectors, for implementations that are not in Python."""
