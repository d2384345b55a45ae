"""Verdicts as text, HTML and JUnit XML."""
