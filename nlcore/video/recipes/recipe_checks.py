"""Checks of a recipe's fields: each one by itself, then those that depend on one another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from numbers import Real
from typing import Any

from nlcore.spec import positive_int
from nlcore.video.network import NetworkSpec
from nlcore.video.recipes.weight_kinds import KINDS
from nlcore.video.sampling import CLIP_DIALECTS
from nlcore.weights import INITS

#: Values of the fields with a choice.
CHOICES: dict[str, tuple[str, ...]] = {
    "sampling": tuple(CLIP_DIALECTS),
    "policy": ("steps", "cosine"),
    "rate_per": ("iteration", "epoch"),
    "last_batch": ("dropped", "kept"),
    "loss": ("softmax_cross_entropy", "sigmoid_cross_entropy"),
    "batch_norm": ("trained", "fixed_statistics", "affine"),
    "initial": ("random", "imagenet", "network", "baseline"),
    "block_init": INITS,
    "merge": ("mean", "max", "sum"),
}

Check = Callable[[str, Any], Any]


def _number(low: float = -math.inf, high: float = math.inf, above: bool = False) -> Check:
    """A check for floats from `low`, or above it, to `high`."""

    def check(name: str, value: Any) -> float:
        expected = f"{name} must be a float {'>' if above else '>='} {low:g}"
        expected += "" if math.isinf(high) else f" and <= {high:g}"
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{expected}; received {value!r}")
        number = float(value)
        if not low <= number <= high or not math.isfinite(number) or (above and number == low):
            raise ValueError(f"{expected}; received {value!r}")
        return number

    return check


def _count(name: str, value: Any) -> int:
    if value == 0 and not isinstance(value, bool):
        return 0
    try:
        return positive_int(name, value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name} must be an int >= 0; received {value!r}") from None


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool; received {value!r}")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{name} must be a str that is not empty; received {value!r}")
    return value


def _optional(check: Check) -> Check:
    return lambda name, value: None if value is None else check(name, value)


def _several(check: Check, count: int | None = None) -> Check:
    """A check for a tuple or list of values. It returns a tuple."""

    def checked(name: str, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, (tuple, list)) or count not in (None, len(value)):
            expected = "a tuple" if count is None else f"a tuple of {count}"
            raise TypeError(f"{name} must be {expected}; received {value!r}")
        return tuple(check(name, entry) for entry in value)

    return checked


def _choice(name: str, value: Any) -> str:
    if value not in CHOICES[name]:
        raise ValueError(f"{name} must be one of {CHOICES[name]}; received {value!r}")
    return str(value)


def _kind(name: str, value: Any) -> str:
    if value not in KINDS:
        raise ValueError(f"{name} must contain kinds of {KINDS} only; received {value!r}")
    return str(value)


def _network(name: str, value: Any) -> NetworkSpec:
    if isinstance(value, Mapping):
        return NetworkSpec(**value)
    if not isinstance(value, NetworkSpec):
        raise TypeError(f"{name} must be a NetworkSpec or a mapping of its fields; "
                        f"received {value!r}")  # fmt: skip
    return value


def _sources(name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping of field to source; received {value!r}")
    return {str(field): _text(f"sources[{field!r}]", source) for field, source in value.items()}


_positive = _number(0, above=True)
#: Field -> check, which raises or returns the value in its own type.
CHECKS: dict[str, Check] = {
    **dict.fromkeys(CHOICES, _choice),
    **dict.fromkeys(("frames", "stride", "crop", "batch", "clips_per_device"), positive_int),
    **dict.fromkeys(("test_clips", "test_crops", "test_short_side"), positive_int),
    **dict.fromkeys(
        ("iterations", "epochs", "stated_videos", "test_crop"), _optional(positive_int)
    ),
    **dict.fromkeys(("flip", "nesterov", "block_identity", "zero_residual"), _flag),
    **dict.fromkeys(("momentum", "dampening", "bn_momentum"), _number(0, 1)),
    **dict.fromkeys(("warmup", "warmup_rate", "weight_decay"), _number(0)),
    "name": _text,
    "network": _network,
    "jitter": _several(positive_int, 2),
    "base_rate": _positive,
    "steps": _several(positive_int),
    "factors": _several(_number(0)),
    "undecayed": _several(_kind),
    "clip_norm": _optional(_positive),
    "precise_statistics": _count,
    "initial_recipe": _optional(_text),
    "frozen": _several(_text),
    "sources": _sources,
}


def checked(recipe: Any) -> dict[str, Any]:
    """The fields of a recipe, each checked and in its own type.

    Raises
    ------
    TypeError, ValueError
        A field is wrong. The message gives its name, the expected and the received value.
    """
    return {f.name: CHECKS[f.name](f.name, getattr(recipe, f.name)) for f in fields(recipe)}


def check_together(recipe: Any) -> None:
    """Raise a ValueError unless the fields are consistent with one another."""
    for message in (*_schedule(recipe), *_clips(recipe), *_training(recipe)):
        raise ValueError(message)


def _schedule(r: Any) -> list[str]:
    """What is wrong with the fields of the schedule."""
    wrong = []
    if (r.iterations is None) == (r.epochs is None):
        wrong.append(
            "one of iterations and epochs must be an int and the other None; "
            f"received iterations={r.iterations}, epochs={r.epochs}"
        )
    if r.iterations is not None and r.rate_per == "epoch":
        wrong.append("rate_per must be 'iteration' for a schedule in iterations; received 'epoch'")
    if list(r.steps) != sorted(set(r.steps)):
        wrong.append(f"steps must increase; received {r.steps}")
    if r.policy == "cosine" and r.steps:
        wrong.append(f"steps must be empty for policy='cosine'; received {r.steps}")
    if len(r.factors) != len(r.steps) + 1:
        wrong.append(
            f"factors must be {len(r.steps) + 1} numbers, one more than steps; received {r.factors}"
        )
    if r.warmup > (length := r.iterations or r.epochs or math.inf):
        wrong.append(f"warmup must be at most the whole schedule, {length}; received {r.warmup}")
    return wrong


def _clips(r: Any) -> list[str]:
    """What is wrong with the fields of the clips and views."""
    wrong = []
    if r.batch % r.clips_per_device:
        wrong.append(
            f"batch must be a multiple of clips_per_device={r.clips_per_device}, over which batch "
            f"normalization computes its statistics; received {r.batch}"
        )
    if r.jitter[0] > r.jitter[1]:
        wrong.append(f"jitter must be the smallest and the largest side; received {r.jitter}")
    if r.crop > r.jitter[0]:
        wrong.append(f"crop must be at most the smallest side, {r.jitter[0]}; received {r.crop}")
    if r.test_crops not in (1, 3):
        wrong.append(f"test_crops must be 1 or 3; received {r.test_crops}")
    if r.test_crop is None and r.test_crops != 1:
        wrong.append(
            "test_crops must be 1 for whole frames (test_crop=None; set it, or --crop, to the side "
            f"of a crop); received {r.test_crops}"
        )
    if r.test_crop is not None and r.test_crop > r.test_short_side:
        wrong.append(
            f"test_crop must be at most test_short_side={r.test_short_side}; received {r.test_crop}"
        )
    return wrong


def _training(r: Any) -> list[str]:
    """What is wrong with the fields of the optimizer and of the initial weights."""
    wrong = []
    if r.nesterov and (r.momentum == 0 or r.dampening != 0):
        wrong.append(
            "nesterov needs momentum > 0 and dampening = 0; "
            f"received momentum={r.momentum}, dampening={r.dampening}"
        )
    if r.batch_norm != "trained" and r.precise_statistics:
        wrong.append(
            f"precise_statistics must be 0 for batch_norm={r.batch_norm!r}, whose statistics are "
            f"fixed; received {r.precise_statistics}"
        )
    if r.initial in ("random", "imagenet") and r.initial_recipe is not None:
        wrong.append(
            f"initial_recipe must be None for initial={r.initial!r}, which no recipe trains; "
            f"received {r.initial_recipe!r}"
        )
    if unknown := sorted(set(r.sources) - {f.name for f in fields(r)}):
        wrong.append(f"sources must be those of fields; received one of {unknown[0]!r}")
    return wrong
