"""The problems that backends are asked: which specs, sizes and numbers."""
