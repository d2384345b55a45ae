"""What can a non-local block learn that a convolution cannot, and the other way round?

    python conformance/studies/learning.py make            # films, from a seed
    python conformance/studies/learning.py run --jobs 2    # all trainings that are left
    python conformance/studies/learning.py look            # what trained networks see
    python conformance/studies/learning.py page            # tables, CSV files, films of the page

Films are made of scikit-learn's digits and scikit-image's photographs. Narrow networks of
`nlcore.video` are trained on them by nlcore's trainer, as `nlcore-video train` does, with five
seeds. `run` skips the trainings whose results are in FOLDER/results, so that it can be interrupted
at any time. `page` takes what is there.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: each training has one thread

import shlex
import time
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from nlcore.video.cli.terminal import progress
from nlcore_torch.video.attend import app as attend
from what_blocks_learn.configurations import STILL
from what_blocks_learn.drawing import draw_films, films_shown, write_curves
from what_blocks_learn.film_files import decoded_index, make_films
from what_blocks_learn.film_tasks import TASKS
from what_blocks_learn.looking import (
    LOOKING,
    attend_arguments,
    best_seed,
    shares,
    validation_file,
)
from what_blocks_learn.many_trainings import carry_out_all, trainings, work
from what_blocks_learn.page import with_tables
from what_blocks_learn.results import Result, read_csv, read_results, write_csv, write_rows
from what_blocks_learn.trained_networks import COUNTED, by_colours
from what_blocks_learn.trainings import Place, Training

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
#: In the folder of the page.
WEIGHTS, BY_COLOURS = "evidence_weights.csv", "evidence_colours.csv"
ATTENDED = "pictures/evidence_attended.jpg"
#: Of the films.
SEED = 0

app = typer.Typer(add_completion=False, help="What can a non-local block learn?")
Folder = Annotated[Path, typer.Option(help="Films, results and weights.")]
HERE = Path("learning")


@app.command()
def make(folder: Folder = HERE) -> None:
    """Make the films and their indices, unless they are there."""
    console = Console(stderr=True)
    for task in TASKS.values():
        with progress(console, f"films: {task.name}") as tell:
            make_films(task, Place(folder).films, SEED, tell)


@app.command()
def run(
    folder: Folder = HERE,
    jobs: Annotated[int, typer.Option(help="Trainings at a time, of one thread each.", min=1)] = 1,
    seeds: Annotated[int, typer.Option(help="Trainings of each network and task.", min=1)] = 5,
    only: Annotated[str, typer.Option(help="Only trainings whose name contains this.")] = "",
    minutes: Annotated[float, typer.Option(help="Begin none after this time.")] = float("inf"),
    dry: Annotated[bool, typer.Option("--dry", help="Only list what is left.")] = False,
) -> None:
    """Carry out the trainings that have no result yet."""
    console = Console(stderr=True)
    place = Place(folder)
    wanted = [t for t in trainings(seeds) if only in t.name or t.task == STILL]
    left = [t for t in wanted if not place.result(t).exists()]
    total, done, began = sum(map(work, left)), 0.0, time.monotonic()
    console.print(f"{len(left)} of {len(wanted)} trainings are left")
    if dry:
        print("\n".join(t.name for t in left))
        return
    results = carry_out_all(place, wanted, jobs, began + 60 * minutes)
    for number, (training, result) in enumerate(results, start=1):
        done += work(training)
        rest = (time.monotonic() - began) * (total - done) / done
        console.print(
            f"{number} of {len(left)}: {training.name}: {result['right']} of {result['films']} "
            f"films right, {result['seconds']:.0f} s; about {timedelta(seconds=round(rest))} left",
            highlight=False,
        )


@app.command()
def page(
    folder: Folder = HERE,
    output: Annotated[Path, typer.Option(help="Folder of the page.")] = DOCS,
) -> None:
    """Write the tables of docs/evidence.md, its CSV files and its pictures from the results."""
    missing = [name for name in (WEIGHTS, BY_COLOURS) if not (output / name).exists()]
    if missing:
        raise typer.BadParameter(f"{output} must have {' and '.join(missing)}: run `look` first")
    results = read_results(Place(folder).results)
    write_csv(output / "evidence.csv", results)
    write_curves(output / "evidence_curves.csv", results)
    looks, colours = read_csv(output / WEIGHTS), read_csv(output / BY_COLOURS)
    text = with_tables((DOCS / "evidence.md").read_text("utf-8"), results, looks, colours)
    (output / "evidence.md").write_text(text, encoding="utf-8")
    draw_films(films_shown(SEED)).savefig(output / "pictures" / "evidence_films.jpg", dpi=110)


@app.command()
def look(
    folder: Folder = HERE,
    output: Annotated[Path, typer.Option(help="Folder of the page.")] = DOCS,
) -> None:
    """Write where trained blocks look and which colours they tell apart. Draw one film."""
    place = Place(folder)
    films = decoded_index(validation_file(place))
    seeds = sorted({r["seed"] for r in read_results(place.results) if r["task"] == "compare"})
    todo = [Training("compare", name, seed) for name in COUNTED for seed in seeds]
    looks: list[Result] = []
    colours: list[Result] = []
    with progress(Console(stderr=True), "networks") as tell:
        for done, training in enumerate(todo, start=1):
            colours += by_colours(place, training, films, SEED)
            if training.configuration in LOOKING:
                looks.append(shares(place, training, films))
            tell(done, len(todo))
    write_rows(output / WEIGHTS, looks)
    write_rows(output / BY_COLOURS, colours)
    seed = best_seed(read_results(place.results))
    arguments = attend_arguments(place, films, 0, seed, output / ATTENDED)
    print(f"nlcore-video attend {shlex.join(arguments)}")
    attend(arguments)


if __name__ == "__main__":
    app()
