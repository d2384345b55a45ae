"""Non-local means, the image filter that the non-local operation is based on."""
