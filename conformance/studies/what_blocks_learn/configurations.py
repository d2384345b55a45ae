"""The networks that are compared, as data: a narrow ResNet-50 with what each row changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nlcore.video import NetworkSpec, Recipe, cost, placement, recipe
from what_blocks_learn.film_tasks import FRAMES, TASKS
from what_blocks_learn.pictures_used import SIDE

WIDTH, CLIP, BATCH = 8, 8, 16
#: Of a training, and of that of the first network, from which all others start.
ITERATIONS, FIRST = 450, 1000
#: Fields that all recipes have. The first network starts from random weights, and all others from
#: its weights.
FIELDS: dict[str, Any] = {
    "jitter": (SIDE, SIDE),
    "crop": SIDE,
    "flip": False,
    "iterations": ITERATIONS,
    "policy": "cosine",
    "steps": (),
    "factors": (1.0,),
    "base_rate": 0.05,
    "precise_statistics": 10,
    "initial_recipe": None,
    "test_clips": 1,
    "test_short_side": SIDE,
}
#: Without temporal pooling, C2D's logits are a mean over frames.
NETWORK = {"width": WIDTH, "dropout": 0.0, "temporal_strides": (1, 1, 1)}
#: Grids of res3 and res4 are so small, 5 x 5 and 3 x 3, that blocks do not subsample.
BLOCK = {"subsample": None}
#: Name of the training that makes the weights from which all others start.
STILL = "still"


@dataclass(frozen=True)
class Configuration:
    """A row of the tables.

    Attributes
    ----------
    name, title : str
    network : mapping
        Fields of `NetworkSpec` that differ from `NETWORK`.
    frames : int
        Of a clip, which always spans the whole film.
    identity : bool
        Whether a new block is the identity.
    schedule : mapping
        Fields of `Recipe` that differ from `FIELDS`.
    tasks : tuple of str
    """

    name: str
    title: str
    network: Mapping[str, Any] = field(default_factory=dict)
    frames: int = CLIP
    identity: bool = True
    schedule: Mapping[str, Any] = field(default_factory=dict)
    tasks: tuple[str, ...] = ("compare",)

    def recipe(self, task: str) -> Recipe:
        """The recipe of a training."""
        fields = {
            **FIELDS,
            "frames": self.frames,
            "stride": FRAMES // self.frames,
            "batch": BATCH,
            "clips_per_device": BATCH,
            "initial": "imagenet",
            "block_identity": self.identity,
            **self.schedule,
        }
        network = {**NETWORK, **self.network, "classes": len(TASKS[task].labels)}
        return recipe("paper", **fields, network={"non_local": (), "inflation": "none", **network})

    def size(self) -> tuple[int, int]:
        """Parameters and multiply-adds, for two classes."""
        spec = self.recipe("compare").network
        rows = cost(spec, (self.frames, SIDE, SIDE))
        return sum(row.parameters for row in rows), sum(row.multiply_adds for row in rows)


def first_recipe() -> Recipe:
    """The recipe of the network from which all others start: C2D, on films of one frame."""
    fields = {
        **FIELDS,
        "frames": 1,
        "stride": 1,
        "batch": 4 * BATCH,
        "clips_per_device": 4 * BATCH,
        "initial": "random",
        "iterations": FIRST,
    }
    network = {**NETWORK, "classes": len(TASKS[STILL].labels), "non_local": (), "inflation": "none"}
    return recipe("paper", **fields, network=network)


def _non_local(count: int, **block: Any) -> dict[str, Any]:
    return {"non_local": placement(50, count), "block": {**BLOCK, **block}}


def _after(residual: str, **block: Any) -> dict[str, Any]:
    return {"non_local": (residual,), "block": {**BLOCK, **block}}


ALL = ("compare", "move", "flash")
I3D = {"inflation": "3x1x1"}
#: The paper's rate, and networks that are also trained with it.
RATE = {"base_rate": 0.01}
LONGER = {**RATE, "iterations": 2 * ITERATIONS}
SLOW: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("c2d", "C2D", {}),
    ("i3d", "I3D 3×1×1", I3D),
    ("nl5", "NL C2D, 5 blocks", _non_local(5)),
)
CONFIGURATIONS = (
    Configuration("c2d", "C2D", tasks=ALL),
    Configuration(
        "c2d_pooled",
        "C2D with temporal pooling",
        {"temporal_strides": (1, 1, 2)},
        tasks=("compare", "move"),
    ),
    Configuration("i3d_3x1x1", "I3D 3×1×1", I3D, tasks=ALL),
    Configuration("i3d_3x3x3", "I3D 3×3×3", {"inflation": "3x3x3"}, tasks=ALL),
    *(
        Configuration(f"nl1_{name[:4]}", f"NL C2D, 1 block in {name[:4]}", _after(name))
        for name in ("res2.1", "res3.2", "res4.4", "res5.1")
    ),
    *(
        Configuration(
            f"nl1_{pairwise}",
            f"NL C2D, 1 block in res3, {title}",
            _after("res3.2", pairwise=pairwise),
        )
        for pairwise, title in {
            "gaussian": "Gaussian",
            "dot_product": "dot product",
            "concatenation": "concatenation",
        }.items()
    ),
    Configuration("nl5", "NL C2D, 5 blocks", _non_local(5), tasks=ALL),
    Configuration("nl10", "NL C2D, 10 blocks", _non_local(10)),
    Configuration(
        "nl5_space",
        "NL C2D, 5 blocks, space",
        _non_local(5, extent="space"),
    ),
    Configuration(
        "nl5_time",
        "NL C2D, 5 blocks, time",
        _non_local(5, extent="time"),
    ),
    Configuration(
        "nl5_random",
        "NL C2D, 5 blocks, random start",
        _non_local(5),
        identity=False,
        tasks=("compare", "flash"),
    ),
    Configuration(
        "nl5_i3d",
        "NL I3D 3×1×1, 5 blocks",
        {**I3D, **_non_local(5)},
        tasks=ALL,
    ),
    Configuration(
        "nl1_equal",
        "NL C2D, 1 block in res3, all weights equal",
        _after("res3.2", scale=0.0),
    ),
    *(
        Configuration(
            f"{name}_longer", f"{title}, 900 iterations, rate 0.01", network, schedule=LONGER
        )
        for name, title, network in SLOW[1:]
    ),
    *(
        Configuration(
            f"{name}_slow", f"{title}, rate 0.01", network, schedule=RATE, tasks=("flash",)
        )
        for name, title, network in SLOW
    ),
    Configuration("c2d_32", "C2D, 32 frames", frames=32),
    Configuration("nl5_32", "NL C2D, 5 blocks, 32 frames", _non_local(5), 32),
)
BY_NAME = {found.name: found for found in CONFIGURATIONS}


def spec_of(name: str, task: str) -> NetworkSpec:
    """The network of a configuration."""
    return BY_NAME[name].recipe(task).network
