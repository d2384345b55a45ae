"""Blocks of memory that two processes share: what one writes, the other reads without a copy."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable
from math import prod

import numpy as np


class Block:
    """A file in memory, which grows to what it has to hold. Each process maps it for itself."""

    def __init__(self, file: int) -> None:
        self.file = file
        self._map: mmap.mmap | None = None

    def array(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """The first bytes of the block as an array."""
        size = prod(shape) * dtype.itemsize
        if self._map is None or len(self._map) < size:
            if os.fstat(self.file).st_size < size:
                os.ftruncate(self.file, size)
            self._map = mmap.mmap(self.file, size)
        return np.frombuffer(self._map, dtype, prod(shape)).reshape(shape)


class Blocks:
    """Blocks that are lent as arrays. A block is free again when no array uses it.

    Examples
    --------
    >>> blocks = Blocks()
    >>> number = blocks.take()
    >>> array = blocks.lent(number, (2, 3), np.dtype("float32"))
    >>> blocks.take() == number
    False
    >>> del array
    >>> blocks.take() == number
    True
    >>> blocks.close()
    """

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, number: int) -> Block:
        return self._blocks[number]

    def take(self) -> int:
        """The number of a block that is free. It is a new one, the last, if there is none."""
        if self._free:
            return self._free.pop()
        self._blocks.append(Block(_memory_file()))
        return len(self._blocks) - 1

    def give_back(self, number: int) -> None:
        """Make a block free."""
        self._free.append(number)

    def lent(self, number: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """The block as an array. It is given back when the array and all views of it are gone."""
        array = self._blocks[number].array(shape, dtype)
        return np.asarray(_Loan(array, lambda: self.give_back(number)))

    def close(self) -> None:
        """Close the files. Arrays that are lent keep their memory."""
        for block in self._blocks:
            os.close(block.file)
        self._blocks.clear()


class _Loan:
    """The owner of an array's memory, as NumPy sees it."""

    def __init__(self, array: np.ndarray, give_back: Callable[[], None]) -> None:
        self.__array_interface__ = array.__array_interface__
        self._array, self._give_back = array, give_back

    def __del__(self) -> None:
        self._give_back()


def _memory_file() -> int:
    """The descriptor of a file without a name, in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("clip")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
