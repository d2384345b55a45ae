"""What a recipe is and amounts to, as text for people: fields in groups, phases, totals."""

from __future__ import annotations

from typing import Any, NamedTuple

from nlcore.video.network import NetworkSpec
from nlcore.video.network_cost import cost
from nlcore.video.recipes.definition import Recipe
from nlcore.video.recipes.presets import PLACES

#: Fields of a recipe in groups, in the order in which they are shown. Each is in one group.
GROUPS: dict[str, tuple[str, ...]] = {
    "Network": ("network",),
    "Clips": (
        *("frames", "stride", "sampling", "jitter", "crop", "flip"),
        *("batch", "clips_per_device", "stated_videos"),
    ),
    "Schedule": (
        *("iterations", "epochs", "last_batch", "base_rate", "policy", "steps", "factors"),
        *("warmup", "warmup_rate", "rate_per"),
    ),
    "Optimizer": (
        *("momentum", "dampening", "nesterov", "weight_decay", "undecayed", "clip_norm", "loss"),
    ),
    "Batch normalization": ("batch_norm", "bn_momentum", "precise_statistics"),
    "Initial weights": (
        *("initial", "initial_recipe", "block_init", "block_identity", "zero_residual", "frozen"),
    ),
    "Test": ("test_clips", "test_crops", "test_short_side", "test_crop", "merge"),
}
#: How a source begins if nothing depends on the field.
NOT_USED = "not used"


class Phase(NamedTuple):
    """The learning rate from an iteration on.

    Attributes
    ----------
    iteration : int
    epoch : float
        Clips until then, as a multiple of the number of videos.
    rate : float
    """

    iteration: int
    epoch: float
    rate: float


def shown(recipe: Recipe, group: str) -> list[tuple[str, str, str]]:
    """Field, value and source of the fields of a group, without those that are not used."""
    rows = []
    for field in GROUPS[group]:
        source = recipe.sources.get(field, "")
        counted = field not in ("iterations", "epochs") or getattr(recipe, field) is not None
        if counted and not source.startswith(NOT_USED):
            rows.append((field, field_text(recipe, field), source))
    return rows


def places(recipe: Recipe) -> dict[str, str]:
    """The entries of `PLACES` that the sources of a recipe name."""
    sources = "\n".join(recipe.sources.values())
    return {name: where for name, where in PLACES.items() if name in sources}


def field_text(recipe: Recipe, field: str) -> str:
    """The value of a field for people: "256 to 320" for (256, 320), "none" for nothing.

    Examples
    --------
    >>> from nlcore.video import recipe
    >>> field_text(recipe("paper"), "test_crop"), field_text(recipe("paper"), "steps")
    ('whole frames', '150,000, 300,000')
    """
    value = getattr(recipe, field)
    if isinstance(value, NetworkSpec):
        return network_text(value)
    if field == "test_crop" and value is None:
        return "whole frames"
    if field == "jitter":
        return f"{value[0]} to {value[1]}"
    if value is None or value == ():
        return "none"
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(_text, value)) if isinstance(value, tuple) else str(value)


def network_text(network: NetworkSpec) -> str:
    """A network in words.

    Examples
    --------
    >>> network_text(NetworkSpec(50, "3x1x1", ("res4.4",)))
    'I3D 3x1x1 ResNet-50, 1 non-local block (res4.4), 400 classes, dropout 0.5'
    """
    kind = "C2D" if network.inflation == "none" else f"I3D {network.inflation}"
    count = len(network.non_local)
    where = f" ({', '.join(network.non_local)})" if count else ""
    blocks = f"{count or 'no'} non-local block{'' if count == 1 else 's'}{where}"
    pairwise = {spec.pairwise for spec in network.blocks.values()} - {"embedded_gaussian"}
    blocks += "".join(f" with f = {name}" for name in sorted(pairwise))
    if count and network.dialect != "paper":
        blocks += f" of dialect {network.dialect}"
    head = "" if network.head == "mean" else f", head {network.head}"
    return (
        f"{kind} ResNet-{network.depth}, {blocks}, {network.classes} classes, "
        f"dropout {network.dropout:g}{head}"
    )


def phases(recipe: Recipe, videos: int) -> list[Phase]:
    """The learning rate at the start, at each change, and at the last iteration."""
    total = recipe.total_iterations(videos)
    per_position = 1 if recipe.epochs is None else recipe.iterations_per_epoch(videos)
    changes = [round(position * per_position) for position in (recipe.warmup, *recipe.steps)]
    at = sorted({0, total - 1, *(change for change in changes if change < total)})
    return [
        Phase(iteration, iteration * recipe.batch / videos, recipe.learning_rate(iteration, videos))
        for iteration in at
    ]


def totals(recipe: Recipe, videos: int) -> list[tuple[str, str]]:
    """What the recipe amounts to for a number of training videos: names and values."""
    total = recipe.total_iterations(videos)
    clips = total * recipe.batch
    size = (recipe.frames, recipe.crop, recipe.crop)
    rows = cost(recipe.network, size)
    adds = sum(row.multiply_adds for row in rows)
    devices = f"{recipe.clips_per_device} on "
    devices += "1 device" if recipe.devices == 1 else f"each of {recipe.devices} devices"
    lines = [
        ("training videos", f"{videos:,}"),
        ("iterations", f"{total:,}"),
        ("clips", f"{clips:,}: {recipe.batch} an iteration, {devices}"),
        ("epochs", f"{clips / videos:.1f}"),
        ("frames decoded", f"{clips * recipe.frames:,}"),
        ("parameters", f"{sum(row.parameters for row in rows):,}"),
        ("input", "3 x " + " x ".join(map(str, size))),
        ("multiply-adds", f"{adds / 1e9:.1f} G forward for a clip"),
        ("test views", f"{recipe.views} a video, of {_view(recipe)}"),
    ]
    never = [step for step in recipe.steps if step >= (recipe.iterations or recipe.epochs or 0)]
    if never:
        lines.append(("never reached", f"steps {_text(tuple(never))}, which are after the end"))
    return lines


def _view(recipe: Recipe) -> str:
    side = f"shorter side {recipe.test_short_side}"
    if recipe.test_crop is None:
        return f"whole frames, {side}"
    return f"{recipe.test_crop} x {recipe.test_crop} pixels, {side}"
