"""What all commands share: a progress bar, and one line where a command cannot be run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def or_exit(command: str = "nlcore-video", extra: str = "video") -> Iterator[None]:
    """End the command with one line and status 2 where something cannot be run.

    `extra` is what installs the packages that the command needs.
    """
    try:
        yield
    except ImportError as error:
        message = f"needs {error.name}: pip install 'nlcore[{extra}]'"
    except (ValueError, OSError) as error:
        message = str(error)
    else:
        return
    print(f"{command}: {message}", file=sys.stderr)
    raise typer.Exit(2)


@contextmanager
def progress(console: Console, name: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar until the end of the block; yields `tell(done, total)`, which updates it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=None)

        def tell(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield tell
