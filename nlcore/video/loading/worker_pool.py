"""Processes that load clips in advance. The clips come in order, whatever their number."""

from __future__ import annotations

import atexit
import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any

import numpy as np

from nlcore.video.loading.clip_sources import ClipSource
from nlcore.video.loading.shared_blocks import Block, Blocks

Key = tuple[int, ...]
#: Keys that a process has at most.
KEYS = 2
#: Seconds for which the next clip is waited for.
PATIENCE = 600.0


class LoadingError(ValueError):
    """A clip cannot be loaded. The message names its place and its video."""


class Workers:
    """Clips of sources, loaded by processes that are started once.

    Parameters
    ----------
    sources : mapping of str to ClipSource
        The processes get a copy of them.
    count : int
        Number of processes. 0 loads each clip in this process when it is asked for.
    ahead : int
        Largest number of clips that are loaded in advance. At least two for each process.
    patience : float
        Seconds after which a clip that does not come is an error.

    Examples
    --------
    ``with Workers({"training": clips}, 4, 16) as workers:`` ends the processes with the block.
    """

    def __init__(
        self,
        sources: Mapping[str, ClipSource],
        count: int = 0,
        ahead: int = 0,
        patience: float = PATIENCE,
    ) -> None:
        if count < 0:
            raise ValueError(f"workers must be at least 0; received {count}")
        self.sources, self.patience = dict(sources), patience
        self.ahead = max(ahead, KEYS * count)
        self._workers: list[_Worker] = []
        atexit.register(self.close)  # before multiprocessing's own, which waits for them
        try:
            for _ in range(count):
                self._workers.append(_Worker(self.sources))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.end()
        self._workers.clear()
        atexit.unregister(self.close)

    def clips(self, source: str, keys: Iterable[Key]) -> Generator[Any, None, None]:
        """The clips of a source with these keys, in order. One such iterator at a time.

        Raises
        ------
        LoadingError
            A clip cannot be loaded, its process ended, or it did not come in time.
        """
        if self._workers:
            yield from self._in_advance(source, keys)
            return
        for key in keys:
            clip = _load(self.sources, source, key)
            if isinstance(clip, str):
                raise LoadingError(f"{self.sources[source].named(*key)}: {clip}")
            yield clip

    def _in_advance(self, source: str, keys: Iterable[Key]) -> Iterator[Any]:
        stream = _Stream(keys, self.ahead)
        threads = [
            threading.Thread(target=_drive, args=(worker, stream, source), daemon=True)
            for worker in self._workers
        ]
        for thread in threads:
            thread.start()
        try:
            while (found := stream.next_result(self.patience)) is not None:
                key, clip = found
                if isinstance(clip, str):
                    raise LoadingError(f"{self.sources[source].named(*key)}: {clip}")
                yield clip
        except LoadingError:
            self.close()
            raise
        finally:
            stream.stop()
            for thread in threads:
                thread.join(self.patience)
                if thread.is_alive():
                    self.close()


class _Stream:
    """Keys and results of one iterator, shared by the threads that drive the processes."""

    def __init__(self, keys: Iterable[Key], ahead: int) -> None:
        self._keys, self._ahead = iter(keys), ahead
        self._given: dict[int, Key] = {}
        self._results: dict[int, Any] = {}  # a clip, or the reason for none
        self._first_free, self._taken, self._ended = 0, 0, False
        self._changed = threading.Condition()

    def next_task(self, wait: bool) -> tuple[int, Key] | None:
        """The next place and key, or None if there is none.

        A key that may not be loaded yet is waited for, or there is none.
        """
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._ended or self._may_load())
            if self._ended or not self._may_load():
                return None
            try:
                key = next(self._keys)
            except StopIteration:
                self.stop()
                return None
            place = self._first_free
            self._given[place] = key
            self._first_free += 1
            return place, key

    def _may_load(self) -> bool:
        return self._first_free < self._taken + self._ahead

    def store(self, place: int, result: Any) -> None:
        with self._changed:
            self._results[place] = result
            self._changed.notify_all()

    def next_result(self, patience: float) -> tuple[Key, Any] | None:
        """The next key and its clip, or the reason for none; None after the last one."""
        with self._changed:
            place = self._taken
            came = self._changed.wait_for(
                lambda: place in self._results or (self._ended and place == self._first_free),
                patience,
            )
            if not came:
                return self._given.get(place, ()), f"did not come within {patience:g} s"
            if place not in self._results:
                return None
            self._taken += 1
            self._changed.notify_all()
            return self._given.pop(place), self._results.pop(place)

    def stop(self) -> None:
        """Give no more keys."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class _Worker:
    """One process, the end of its pipe in this one, and the blocks into which it writes clips.

    The process gets its next key before its last clip is read, so that it never waits.
    """

    def __init__(self, sources: Mapping[str, ClipSource]) -> None:
        context = multiprocessing.get_context("spawn")  # threads and devices do not survive a fork
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, sources), daemon=True)
        self.process.start()
        other.close()  # so that each side notices the other's end
        self.blocks = Blocks()
        self._sent: deque[int] = deque()  # blocks of the clips that have not come

    def send(self, source: str, key: Key) -> None:
        """Ask for a clip."""
        known = len(self.blocks)  # to the process
        number = self.blocks.take()
        self._sent.append(number)
        with suppress(OSError):  # of a process that has ended, which `receive` notices
            self.connection.send((source, key, number))
            if number == known:
                send_handle(self.connection, self.blocks[number].file, self.process.pid)

    def receive(self) -> Any:
        """The clip of the first key that was sent and not received, or the reason for none."""
        number = self._sent.popleft()
        try:
            clip = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(1.0)
            return f"its worker process ended with exit code {self.process.exitcode}"
        if isinstance(clip, str):
            self.blocks.give_back(number)
            return clip
        pixels = self.blocks.lent(number, clip.pixels.shape[1:], clip.pixels.dtype)
        return clip._replace(pixels=pixels)

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.blocks.close()


def _drive(worker: _Worker, stream: _Stream, source: str) -> None:
    """Give a process keys, and store its clips."""
    sent: deque[int] = deque()  # places of the keys whose clips have not come
    while True:
        while len(sent) < KEYS and (task := stream.next_task(wait=not sent)) is not None:
            place, key = task
            worker.send(source, key)
            sent.append(place)
        if not sent:
            return
        result = worker.receive()
        stream.store(sent.popleft(), result)


def _serve(connection: Connection, sources: Mapping[str, ClipSource]) -> None:
    """Load the clips of the keys that come, until the other side of the pipe is closed."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the trainer stops its processes itself
        signal.signal(number, signal.SIG_IGN)
    blocks: list[Block] = []
    with suppress(EOFError, OSError):
        while True:
            source, key, number = connection.recv()
            if number == len(blocks):
                blocks.append(Block(recv_handle(connection)))
            connection.send(_written(_load(sources, source, key), blocks[number]))


def _written(clip: Any, block: Block) -> Any:
    """A clip or an image, a named tuple with pixels, whose pixels are in the block.

    In their place are as many axes and one more, without elements. A reason for none, a str, stays.
    """
    if isinstance(clip, str):
        return clip
    pixels = clip.pixels
    block.array(pixels.shape, pixels.dtype)[...] = pixels
    return clip._replace(pixels=np.empty((0, *pixels.shape), pixels.dtype))


def _load(sources: Mapping[str, ClipSource], source: str, key: Key) -> Any:
    """The clip of a key, or the reason for none, a str."""
    try:
        return sources[source].load(*key)
    except Exception as error:
        known = isinstance(error, (ValueError, OSError))
        return str(error) if known else f"{type(error).__name__}: {error}"
