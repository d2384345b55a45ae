"""Before all tests."""

import contextlib

with contextlib.suppress(ImportError):
    # A CUDA build of torch imports triton here, which crashes if TensorFlow is imported before it.
    import torch.utils.flop_counter  # noqa: F401
