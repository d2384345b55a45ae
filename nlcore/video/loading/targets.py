"""Labels of a clip as the number or the numbers that a loss compares scores with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from nlcore.video.labels.videos import Index, labels_of, renamed_labels
from nlcore.video.recipes.definition import Recipe

#: Names of wrong videos that an error contains.
NAMED = 3


def one_label(recipe: Recipe) -> bool:
    """Whether a clip has exactly one label: the loss is softmax cross-entropy."""
    return recipe.loss == "softmax_cross_entropy"


def check_targets(index: Index, recipe: Recipe) -> None:
    """Raise a ValueError unless the recipe can be trained or tested with the index's labels.

    Labels must be below the network's number of classes. With softmax cross-entropy, each video
    must have exactly one label, which every frame has.
    """
    if not len(index):
        raise ValueError("an index must have at least one video; received none")
    classes, wrong = recipe.network.classes, []
    for video in index.videos:
        labels = labels_of(video)
        if any(label >= classes for label in labels):
            wrong.append(
                f"{video.path} must have labels from 0 to {classes - 1}, the classes of the "
                f"network; received {max(labels)}"
            )
        elif one_label(recipe) and (len(labels) != 1 or video.intervals is not None):
            what = "intervals" if video.intervals is not None else str(list(labels))
            wrong.append(
                f"{video.path} must have one label, for the loss {recipe.loss!r}; received {what}"
            )
    if wrong:
        more = f"\nand {len(wrong) - NAMED} more videos" if len(wrong) > NAMED else ""
        raise ValueError("\n".join(wrong[:NAMED]) + more)


def check_names(index: Index, names: Sequence[str], of: str) -> None:
    """Raise a ValueError if labels of an index have other names than `of`, which has `names`."""
    wrong = renamed_labels(index.names, names)
    if wrong:
        first = wrong[0]
        raise ValueError(
            f"the labels of an index must be those of {of}: label {first} must be "
            f"{names[first]!r}; received {index.names[first]!r}, and {len(wrong)} other names in "
            "all. Index both lists with the same --names"
        )


def target_of(labels: Iterable[int], recipe: Recipe) -> np.ndarray:
    """The label, () int64, or for sigmoid cross-entropy 0 and 1 by class, (classes,) float32.

    Examples
    --------
    >>> from nlcore.video import recipe
    >>> target_of([7], recipe("paper"))
    array(7)
    >>> target_of([7, 9], recipe("charades")).nonzero()[0].tolist()
    [7, 9]
    """
    labels = list(labels)
    if one_label(recipe):
        return np.array(labels[0], np.int64)
    target = np.zeros(recipe.network.classes, np.float32)
    target[labels] = 1.0
    return target
