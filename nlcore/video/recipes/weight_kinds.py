"""Kinds of a network's weights, by which a recipe decides what is decayed."""

from __future__ import annotations

#: All kinds. A weight can be of more than one, see `kinds`.
KINDS = ("conv", "fc", "bias", "batch_norm", "block")


def kinds(name: str) -> frozenset[str]:
    """The kinds of a weight, from its name in `nlcore.video.network_weight_shapes`.

    "batch_norm" is scale and shift of batch normalization, and "bias" every other bias. "conv" and
    "fc" are the weights of these layers. Every weight of a non-local block is also of kind "block",
    where theta, phi, g, out and w_f count as convolutions, as implementations have them.

    Raises
    ------
    ValueError
        The name is of running statistics, which are not trained, or has no dot.

    Examples
    --------
    >>> sorted(kinds("res3.1.non_local.theta.bias")), sorted(kinds("bn1.bias"))
    (['bias', 'block'], ['batch_norm'])
    """
    *parents, layer, part = ("", *name.split("."))
    if part not in ("weight", "bias") or not layer:
        raise ValueError(
            f"name must be that of a trained weight, such as 'conv1.weight'; received {name!r}"
        )
    if layer.rstrip("123") == "bn" or layer.endswith("_bn"):
        kind = "batch_norm"
    elif part == "bias":
        kind = "bias"
    else:
        kind = "fc" if layer == "fc" else "conv"
    found = {kind}
    if layer == "fc":
        found.add("fc")
    if "non_local" in parents:
        found.add("block")
    return frozenset(found)
