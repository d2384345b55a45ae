"""Non-local means, the image filter that the operation descends from."""
