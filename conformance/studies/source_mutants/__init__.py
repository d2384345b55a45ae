"""Automatic mutants of a backend's source, for the study `mutation.py`."""
