"""Compute one problem in several processes or threads: print how many results have equal bits.

python processes.py WAY METHOD, where WAY is pool, threads, torch (after torch computed in threads)
or loader (in workers of a DataLoader), and METHOD is how processes are started.
"""

import multiprocessing
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import nlcore


def computed(_=None):
    """z and dx, as bytes, of a problem that several threads share."""
    spec = nlcore.NonLocalSpec(16, ndim=2)
    rng = np.random.default_rng(0)
    weights = nlcore.init_weights(spec, rng, identity=False)
    x = rng.normal(size=(2, 16, 16, 16))
    dx, _ = nlcore.block_vjp(spec, weights, x, x)
    return nlcore.block(spec, weights, x).tobytes() + dx.tobytes()


class Problems:
    """A dataset whose items the reference computes."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return np.frombuffer(computed(), np.uint8).copy()


def results(way, method):
    if way in ("torch", "loader"):
        import torch

        torch.randn(512, 512) @ torch.randn(512, 512)
    if way == "threads":
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(computed, range(4)))
    if way == "loader":
        loader = torch.utils.data.DataLoader(
            Problems(), num_workers=2, multiprocessing_context=method, timeout=100
        )
        return [item[0].numpy().tobytes() for item in loader]
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map_async(computed, range(4)).get(timeout=100)


if __name__ == "__main__":
    first = computed()  # so that this process has threads of its own
    print(sum(result == first for result in results(*sys.argv[1:])))
