"""Random choices of training as pure functions: no state, no order, no number of workers.

A choice is named. Its random words are those of Philox4x64-10 (Salmon et al. 2011, "Parallel random
numbers: as easy as 1, 2, 3") with

    key     = (seed, name)
    counter = (1 + block, slot, iteration, 0)

where the name is its ASCII characters, at most eight, as a little-endian integer. A block is four
words of 64 bits. Word n is word n mod 4 of block n // 4. `docs/clips.md` has the rules as clauses.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count

import numpy as np

#: Values of a word.
WORDS = 1 << 64
#: A generator of each thread, and its state.
_KNOWN = threading.local()


def _word(name: str, value: int) -> int:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer; received {value!r}")
    if not 0 <= value < WORDS:
        raise ValueError(f"{name} must be at least 0 and below 2^64; received {value}")
    return int(value)


def _name(name: str) -> int:
    """The characters of a name as one word, the first in the lowest byte."""
    if not name.isascii() or not 1 <= len(name) <= 8:
        raise ValueError(f"a choice is named by 1 to 8 ASCII characters; received {name!r}")
    return int.from_bytes(name.encode("ascii"), "little")


def _generator(seed: int, iteration: int, slot: int, name: str) -> np.random.Philox:
    """The source of a choice's words. NumPy increments the counter before its first block."""
    key = np.array([seed, _name(name)], np.uint64)
    return np.random.Philox(key=key, counter=np.array([0, slot, iteration, 0], np.uint64))


def _block(seed: int, iteration: int, slot: int, name: str, block: int) -> list[int]:
    """The four words of a block, which is numbered from 1.

    A generator whose state is set is four times faster than a new one.
    """
    if not hasattr(_KNOWN, "generator"):
        _KNOWN.generator = np.random.Philox(0)
        _KNOWN.state = _KNOWN.generator.state
    state = _KNOWN.state
    state["state"]["key"][:] = seed, _name(name)
    state["state"]["counter"][:] = block - 1, slot, iteration, 0
    state["buffer_pos"] = 4  # all words of the buffer are used
    _KNOWN.generator.state = state
    return _KNOWN.generator.random_raw(4).tolist()


@dataclass(frozen=True)
class Draw:
    """The random choices of one slot of one iteration's batch.

    Two choices with different names are independent. A choice that is made again gives the same
    value.

    Parameters
    ----------
    seed : int
        Of the whole training, at least 0 and below 2^64.
    iteration : int
        Counted from 0.
    slot : int
        Place in the global batch, from 0. It does not depend on the number of processes.

    Examples
    --------
    >>> draw = Draw(seed=1, iteration=0, slot=0)
    >>> draw.integer("start", 0, 236), draw.integer("start", 0, 236), draw.integer("top", 0, 236)
    (213, 213, 188)
    >>> Draw(seed=1, iteration=1, slot=0).flip("flip")
    True
    """

    seed: int
    iteration: int
    slot: int

    def __post_init__(self) -> None:
        for name in ("seed", "iteration", "slot"):
            object.__setattr__(self, name, _word(name, getattr(self, name)))

    def words(self, name: str) -> Iterator[int]:
        """The words of a choice, without end."""
        for block in count(1):
            yield from _block(self.seed, self.iteration, self.slot, name, block)

    def generator(self, name: str) -> np.random.Generator:
        """NumPy's generator of the words of a choice, for arrays of random numbers."""
        return np.random.Generator(_generator(self.seed, self.iteration, self.slot, name))

    def uniform(self, name: str) -> float:
        """A multiple of 2^-53 in [0, 1), each equally likely: the upper 53 bits of word 0."""
        return (next(self.words(name)) >> 11) * 2.0**-53

    def integer(self, name: str, low: int, high: int) -> int:
        """An integer from low to high, both included, each equally likely.

        With n = high - low + 1, it is low + w mod n for the first word w below the largest multiple
        of n that is at most 2^64. So it has no bias.

        Raises
        ------
        ValueError
            There is no such integer, or there are more than 2^64.
        """
        count = high - low + 1
        if not 1 <= count <= WORDS:
            raise ValueError(
                f"{name} must have from 1 to 2^64 values; received the range {low} to {high}"
            )
        limit = WORDS // count * count
        return low + next(word for word in self.words(name) if word < limit) % count

    def flip(self, name: str, probability: float = 0.5) -> bool:
        """Whether `uniform` is below the probability."""
        return self.uniform(name) < probability


@lru_cache(maxsize=4)
def order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order in which an epoch reads a training set: a permutation of 0 to count - 1.

    Element i has the words 2i and 2i + 1 of the choice "order" at iteration = epoch and slot 0. The
    elements are sorted by the first word, then by the second, then by i. All orders are equally
    likely, up to the probability that two pairs of words are equal, which is below count² / 2^129.

    Parameters
    ----------
    seed, epoch : int
    count : int
        Number of elements, at least 1.

    Returns
    -------
    (count,) int64
        Read-only.

    Examples
    --------
    >>> order(seed=1, epoch=0, count=5).tolist(), order(seed=1, epoch=1, count=5).tolist()
    ([4, 1, 0, 3, 2], [1, 2, 3, 4, 0])
    """
    if count < 1:
        raise ValueError(f"count must be at least 1; received {count}")
    generator = _generator(_word("seed", seed), _word("epoch", epoch), 0, "order")
    words = generator.random_raw(2 * count).reshape(count, 2)
    elements = np.lexsort((words[:, 1], words[:, 0])).astype(np.int64)
    elements.flags.writeable = False
    return elements


def element(seed: int, iteration: int, slot: int, batch: int, count: int) -> int:
    """The element of the training set that a slot of an iteration's batch reads.

    The epochs' orders follow each other without a gap: with p = iteration batch + slot it is
    `order(seed, p // count, count)[p % count]`. So an epoch may begin inside of a batch.

    Parameters
    ----------
    seed, iteration, slot : int
        As of `Draw`. The slot is below batch.
    batch : int
        Clips in the global batch: the sum over all processes.
    count : int
        Elements in the training set.

    Examples
    --------
    >>> [element(1, iteration, slot, batch=4, count=5) for iteration in (0, 1) for slot in range(4)]
    [4, 1, 0, 3, 2, 1, 2, 3]
    """
    if not 0 <= slot < batch:
        raise ValueError(f"slot must be at least 0 and below the batch, {batch}; received {slot}")
    epoch, place = divmod(iteration * batch + slot, count)
    return int(order(seed, epoch, count)[place])


def element_in_epoch(
    seed: int, iteration: int, slot: int, batch: int, count: int, kept: bool = False
) -> int:
    """The element that a slot reads where every epoch begins with a new batch.

    An epoch has count / batch iterations, rounded down, or up if the smaller last batch is `kept`.
    With n the number of the iteration in its epoch, it is element n batch + slot of the epoch's
    order.

    Parameters
    ----------
    seed, iteration, slot, batch, count : int
        As of `element`. Of a smaller last batch, the slot is below its number of clips.
    kept : bool
        Whether the last elements of an order that do not fill a batch are a smaller one. If not,
        they are not read.

    Raises
    ------
    ValueError
        There is no such slot, or an epoch has no iteration.

    Examples
    --------
    >>> [element_in_epoch(1, n, slot, batch=2, count=5) for n in (0, 1, 2) for slot in (0, 1)]
    [4, 1, 0, 3, 1, 2]
    >>> element_in_epoch(1, 2, 0, batch=2, count=5, kept=True)
    2
    """
    iterations = -(-count // batch) if kept else count // batch
    if not iterations:
        raise ValueError(f"count must be at least the batch, {batch}; received {count}")
    epoch, inside = divmod(iteration, iterations)
    slots = min(batch, count - inside * batch)
    if not 0 <= slot < slots:
        raise ValueError(f"slot must be from 0 to {slots - 1}; received {slot}")
    return int(order(seed, epoch, count)[inside * batch + slot])


def framework_seed(seed: int, iteration: int, slot: int = 0) -> int:
    """The seed of a framework's own generator (dropout) in an iteration: 0 to 2^32 - 1.

    It is the upper half of word 0 of the choice "dropout". Every framework accepts 32 bits.

    Parameters
    ----------
    seed, iteration : int
        As of `Draw`.
    slot : int
        The first slot of the clips of a device. So two devices have different masks.

    Examples
    --------
    >>> framework_seed(1, 0), framework_seed(1, 1)
    (3261328327, 3324779546)
    """
    return next(Draw(seed, iteration, slot).words("dropout")) >> 32
