"""The reference: the block's definition computed to float64 roundoff with NumPy and Numba."""
