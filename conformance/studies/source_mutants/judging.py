"""Trials judged in processes of their own, which end at the first that fails."""

from __future__ import annotations

import os
import resource
import sys
import time
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

#: Seconds that a mutant may take, beside `SLOWER` times those of its trials without the mutant.
START, SLOWER = 60.0, 10.0
#: Bytes of memory that a mutant may take.
MEMORY = 3 * 2**30
_FORK = get_context("fork")


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: "rejected" by a check, or "survived"."""

    verdict: str
    by: str = ""  # the check, or "import", "time", "memory" or "end" of the process
    note: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Changed:
    """A module's source to be judged in place of its file."""

    module: str
    file: str
    text: str


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
    mutants: Sequence[Changed],
    asked: Sequence[Sequence[Trial]],
    limits: Sequence[float],
    package: str,
    jobs: int,
) -> Iterator[tuple[int, Outcome]]:
    """The number of each mutant with its outcome, as soon as it is known.

    Parameters
    ----------
    asked
        The trials of each mutant, in their order.
    limits
        How many seconds each may take.
    jobs
        How many are judged at a time.
    """
    waiting = list(reversed(range(len(mutants))))
    running: dict[Any, tuple[int, BaseProcess, float]] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            number = waiting.pop()
            receiver, process = _started(_judge, mutants[number], asked[number], package)
            running[receiver] = number, process, time.perf_counter()
        ready = wait(list(running), timeout=1.0)
        for receiver in list(running):
            number, process, start = running[receiver]
            seconds = time.perf_counter() - start
            if receiver in ready:
                outcome = _received(receiver, process)
            elif seconds > limits[number]:
                process.kill()
                outcome = {"verdict": "rejected", "by": "time"}
            else:
                continue
            process.join()
            receiver.close()
            del running[receiver]
            yield number, Outcome(**outcome | {"seconds": round(seconds, 2)})


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


def _judge(sender: Connection, mutant: Changed, trials: Sequence[Trial], package: str) -> None:
    sender.send(asdict(_outcome(mutant, trials, package)))


def _outcome(mutant: Changed, trials: Sequence[Trial], package: str) -> Outcome:
    fresh_import.forget(package)
    fresh_import.replace(mutant.module, mutant.file, mutant.text)
    loaded = _Loaded()
    for trial in trials:
        try:
            backend = loaded[trial.backend]
        except Exception as error:  # whatever the mutant may raise
            return Outcome("rejected", "import", one_line(error))
        try:
            trial.judge(backend)
        except Failed as error:
            found = error.failure.judgement
            note = error.failure.error if found is None else f"{found.output} {found.ratio:.3g}"
            return Outcome("rejected", trial.check.name, note[:200])
        except MemoryError as error:
            return Outcome("rejected", "memory", one_line(error))
        except Exception as error:
            return Outcome("rejected", trial.check.name, one_line(error)[:200])
    return Outcome("survived")


class _Loaded(dict[str, Backend]):
    """Backends by name, each loaded when it is first asked for."""

    def __missing__(self, name: str) -> Backend:
        self[name] = load(name)
        return self[name]
