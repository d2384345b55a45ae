"""nlcore-video plan: everything that a recipe will do, without any data."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from nlcore.video.cli.options import SetOption, recipe_of
from nlcore.video.cli.terminal import or_exit
from nlcore.video.recipes import RECIPES, Recipe, recipe_to_json
from nlcore.video.recipes.summary import GROUPS, phases, places, shown, totals


def plan(
    recipe: Annotated[
        str,
        typer.Option(help=f"Recipe: {', '.join(RECIPES)}, or a .json file.", metavar="NAME"),
    ] = "paper",
    set: SetOption = None,
    videos: Annotated[
        int | None,
        typer.Option(help="Number of training videos. Default: the recipe's.", min=1),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            help="Draw the learning rate into this file: .png, .svg or .pdf.", metavar="FILE"
        ),
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option(help="Write all fields of the recipe to this file, as JSON.", metavar="FILE"),
    ] = None,
) -> None:
    """Show what a recipe will do: network, clips, schedule, test views, and sources.

    It reads the recipe only, and no data.
    """
    with or_exit():
        found = recipe_of(recipe, set)
        count = videos or found.stated_videos
        if count is None:
            raise ValueError(f"--videos is needed: {found.name!r} states no number of videos")
        tables = [*_fields(found), _schedule(found, count)]
        tables.append(_pairs("It amounts to", totals(found, count)))
        tables.append(_pairs("Sources", places(found).items()))
        if picture is not None:
            from nlcore.video.recipes.rate_picture import draw_rates

            draw_rates([found], count).savefig(picture, dpi=150)
        if json is not None:
            json.write_text(recipe_to_json(found), encoding="utf-8")
    console = Console()
    console.print(f"Recipe [bold]{found.name}[/bold]")
    for table in tables:
        console.print()
        console.print(table)


def _table(title: str, *columns: str) -> Table:
    """A table without lines, which fits into 80 columns."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, header_style="dim", overflow="fold")
    return table


def _fields(recipe: Recipe) -> list[Table]:
    tables = []
    for group in GROUPS:
        table = _table(group, "field", "value", "read in")
        table.columns[0].min_width = 18  # one width for all groups
        table.columns[1].ratio, table.columns[2].ratio = 2, 3
        table.expand = True
        for row in shown(recipe, group):
            table.add_row(*row)
        tables.append(table)
    return tables


def _schedule(recipe: Recipe, videos: int) -> Table:
    table = _table("Learning rate", "from iteration", "epoch", "rate")
    for column in table.columns:
        column.justify = "right"
    for phase in phases(recipe, videos):
        table.add_row(f"{phase.iteration:,}", f"{phase.epoch:.1f}", f"{phase.rate:.6g}")
    return table


def _pairs(title: str, pairs: Iterable[tuple[str, str]]) -> Table:
    table = _table(title, "", "")
    table.show_header = False
    table.columns[0].no_wrap = True
    for pair in pairs:
        table.add_row(*pair)
    return table
