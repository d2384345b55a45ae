"""The block as it is defined, computed to float64 roundoff: NumPy arrays and Numba kernels."""
