"""Changed sources, judged by trials in processes of their own."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import coverage

from nlcore_conformance.backend.protocol import Backend, one_line
from nlcore_conformance.backend.resolve import load
from nlcore_conformance.checks.judging import Failed
from source_mutants import fresh_import
from source_mutants.trials import Trial

#: Seconds that a job may take, beside `SLOWER` times those of its trials without a mutant.
START, SLOWER = 60.0, 10.0
#: Bytes of memory that a mutant may take.
MEMORY = 3 * 2**30
_FORK = get_context("fork")


@dataclass(frozen=True)
class Outcome:
    """What became of a job: "rejected" by a check, or "survived"."""

    verdict: str
    by: str = ""  # the check, or "import", "time", "memory" or "end" of the process
    note: str = ""
    passed: int = 0  # trials before the one that rejects
    seconds: float = 0.0


@dataclass(frozen=True)
class Changed:
    """A module's source to be judged in place of its file."""

    module: str
    file: str
    text: str


@dataclass(frozen=True)
class Job:
    """Changes to be judged together by trials, which may take `limit` seconds."""

    changes: Sequence[Changed]
    trials: Sequence[Trial]
    limit: float


@dataclass(frozen=True)
class Measured:
    """What the trials take and execute without any mutant.

    Attributes
    ----------
    seconds : dict
        Number of a trial that passes -> how long it takes. Refused trials are left out.
    failed : list of str
        What the trials say that fail, none of which should.
    statements, missing : dict
        File -> the first lines of its statements, and of those that are not executed.
    lines : dict
        File -> line -> the numbers of the trials that execute it, or None if its import does.
    imported : list of str
        The modules that are imported in the end, but for those of the package.
    """

    seconds: dict[int, float]
    failed: list[str]
    statements: dict[str, list[int]]
    missing: dict[str, list[int]]
    lines: dict[str, dict[int, set[int] | None]]
    imported: list[str]


def measured(
    trials: Sequence[Trial], package: str, files: Sequence[str], tell: Callable[[int], None]
) -> Measured:
    """Judge the package as it is, in another process; `tell` is called with each trial's number."""
    receiver, process = _started(_measure, trials, package, files)
    try:
        while isinstance(answer := receiver.recv(), int):
            tell(answer)
    except EOFError as error:
        process.join()
        raise RuntimeError(f"the process ended with status {process.exitcode}") from error
    process.join()
    return answer


def _measure(
    sender: Connection, trials: Sequence[Trial], package: str, files: Sequence[str]
) -> None:
    recorder = coverage.Coverage(data_file=None, include=list(files), config_file=False)
    fresh_import.forget(package)
    seconds, failed, loaded = {}, [], _Loaded()
    recorder.start()
    for name in dict.fromkeys(trial.backend for trial in trials):
        loaded[name]
    for number, trial in enumerate(trials):
        recorder.switch_context(str(number))
        start = time.perf_counter()
        try:
            trial.judge(loaded[trial.backend])
            seconds[number] = time.perf_counter() - start
        except NotImplementedError:
            pass
        except Failed as error:
            failed.append(f"{trial.backend}, {trial.check.name}: {one_line(error)}")
        if number % 20 == 0:
            sender.send(number)
    recorder.stop()
    statements, missing, lines = {}, {}, {}
    for file in files:
        _, statements[file], _, missing[file], _ = recorder.analysis2(file)
        contexts = recorder.get_data().contexts_by_lineno(file)
        lines[file] = {
            line: None if "" in found else set(map(int, found)) for line, found in contexts.items()
        }
    imported = [name for name in sys.modules if name.partition(".")[0] != package]
    sender.send(Measured(seconds, failed, statements, missing, lines, imported))


def judge_all(
    waiting: deque[tuple[Any, Job]], package: str, at_a_time: int
) -> Iterator[tuple[Any, Outcome]]:
    """The key of each job with its outcome, as soon as it is known.

    Jobs can be added to `waiting` in the meantime. They are taken from its left end.
    """
    running: dict[Connection, tuple[Any, Job, BaseProcess, float]] = {}
    while waiting or running:
        while waiting and len(running) < at_a_time:
            key, job = waiting.popleft()
            receiver, process = _started(_judge, job, package)
            running[receiver] = key, job, process, time.perf_counter()
        ready = wait(list(running), timeout=1.0)
        for receiver in list(running):
            key, job, process, start = running[receiver]
            seconds = time.perf_counter() - start
            if receiver in ready:
                outcome = _received(receiver, process)
            elif seconds > job.limit:
                process.kill()
                outcome = {"verdict": "rejected", "by": "time"}
            else:
                continue
            process.join()
            receiver.close()
            del running[receiver]
            yield key, Outcome(**outcome | {"seconds": round(seconds, 2)})


def _received(receiver: Connection, process: BaseProcess) -> dict[str, Any]:
    try:
        return receiver.recv()
    except EOFError:
        process.join()
        note = f"its process ended with status {process.exitcode}"
        return {"verdict": "rejected", "by": "end", "note": note}


def _started(target: Callable[..., None], *arguments: Any) -> tuple[Connection, BaseProcess]:
    """A process of ``target(sender, *arguments)``, and where to receive what it sends."""
    receiver, sender = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_alone, args=(target, sender, *arguments), daemon=True)
    sys.stdout.flush()
    process.start()
    sender.close()
    return receiver, process


def _alone(target: Callable[..., None], sender: Connection, *arguments: Any) -> None:
    """Call ``target(sender, *arguments)`` without output, with a limit of memory."""
    with open(os.devnull, "w") as nowhere:
        for stream in (1, 2):
            os.dup2(nowhere.fileno(), stream)
    with open("/proc/self/statm") as file:
        own = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (own + MEMORY, own + MEMORY))
    target(sender, *arguments)
    sender.close()
    os._exit(0)  # frameworks' threads may not end


def _judge(sender: Connection, job: Job, package: str) -> None:
    sender.send(asdict(_outcome(job, package)))


def _outcome(job: Job, package: str) -> Outcome:
    fresh_import.forget(package)
    for change in job.changes:
        fresh_import.replace(change.module, change.file, change.text)
    loaded = _Loaded()
    for passed, trial in enumerate(job.trials):
        try:
            backend = loaded[trial.backend]
        except Exception as error:  # whatever the mutant may raise
            return Outcome("rejected", "import", one_line(error), passed)
        by = trial.check.name
        try:
            trial.judge(backend)
        except Failed as error:
            found = error.failure.judgement
            note = error.failure.error if found is None else f"{found.output} {found.ratio:.3g}"
            return Outcome("rejected", by, note[:200], passed)
        except MemoryError as error:
            return Outcome("rejected", "memory", one_line(error), passed)
        except Exception as error:
            return Outcome("rejected", by, one_line(error)[:200], passed)
    return Outcome("survived", passed=len(job.trials))


class _Loaded(dict[str, Backend]):
    """Backends by name, each loaded when it is first asked for."""

    def __missing__(self, name: str) -> Backend:
        self[name] = load(name)
        return self[name]
