"""Where weights come from: how other projects name a block's weights, and which blocks they have.

Read in their sources; the blocks' rules are those of the dialects of `nlcore.dialects`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from nlcore.spec import NonLocalSpec
from nlcore.weights import weight_shapes

#: The window that mmcv and AlexHex7 pool by, by number of axes.
POOLS = {1: (2,), 2: (2, 2), 3: (1, 2, 2)}


class Rule(NamedTuple):
    """What must hold of a spec, in words, and the field that it is about."""

    field: str
    words: str
    holds: bool


class Place(NamedTuple):
    """Where another project keeps a weight: its name, and its shape there."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Origin:
    """One project's block.

    Its weights' shapes are those of convolutions of size 1 over as many axes, and W_f is (1, 2D, 1,
    1). Counts of batches are no weights.
    """

    dialect: str
    source: str
    #: Whether it pools, whether it has batch normalization -> layers of theta, phi, g, f, out, bn.
    layers: Callable[[bool, bool], dict[str, str]]
    #: What there is no module or no weight for otherwise.
    form: Callable[[NonLocalSpec], list[Rule]]
    #: What the module computes.
    rules: Callable[[NonLocalSpec], list[Rule]]
    #: A layer's name, and "weight", "bias", "running_mean" or "running_var" -> the weight's name.
    join: Callable[[str, str], str] = "{}.{}".format
    #: Without a bias of W_z beside batch normalization.
    bare_out: bool = False
    #: Its biases are a choice; otherwise there always are some.
    bias_optional: bool = False
    #: Where batch normalization may be a scale and a shift alone.
    affine: bool = False
    #: What neither names and shapes nor the project's own habits tell.
    must_say: tuple[str, ...] = ()
    #: Names, as a regular expression, of what is no weight.
    ignored: str = r"(.*\.)?num_batches_tracked"


def block_places(origin: str, spec: NonLocalSpec) -> dict[str, Place]:
    """nlcore's names of a spec's weights -> where the origin keeps them.

    A weight that the origin's block has none of is not among them: with batch normalization mmcv
    has no out.bias.

    Raises
    ------
    ValueError
        Unknown origin.
    """
    known = named_origin(origin)
    layers = known.layers(spec.subsample is not None, spec.batch_norm)
    places = {}
    for name, shape in weight_shapes(spec).items():
        part, _, leaf = name.partition(".")
        if name == "f.bias" or (name == "out.bias" and known.bare_out and spec.batch_norm):
            continue
        if name == "f.weight":
            shape = (1, *shape, 1, 1)
        elif len(shape) == 2:
            shape = (*shape, *[1] * spec.ndim)
        places[name] = Place(known.join(layers[part], leaf), shape)
    return places


def check_holds(origin: str, spec: NonLocalSpec) -> None:
    """Raise ValueError, which names the field, unless the origin's block can be the spec's."""
    known = named_origin(origin)
    for rule in (*known.form(spec), *known.rules(spec)):
        if not rule.holds:
            value = getattr(spec, rule.field)
            raise ValueError(
                f"{origin} cannot hold {rule.field}={value!r}: there {rule.words}; received {spec}"
            )


def named_origin(origin: str) -> Origin:
    """The origin of this name, or a ValueError."""
    if not isinstance(origin, str) or origin not in ORIGINS:
        raise ValueError(f"origin must be one of {tuple(ORIGINS)}; received {origin!r}")
    return ORIGINS[origin]


def _mmcv_layers(pools: bool, batch_norm: bool) -> dict[str, str]:
    at = ".0" if pools else ""  # a convolution and its pooling in a row
    return {
        "theta": "theta.conv",
        "phi": f"phi{at}.conv",
        "g": f"g{at}.conv",
        "f": "concat_project.conv",
        "out": "conv_out.conv",
        "bn": "conv_out.bn",
    }


def _mmcv_form(spec: NonLocalSpec) -> list[Rule]:
    return [Rule("inner_channels", "D is C // reduction", reduction(spec) is not None)]


def reduction(spec: NonLocalSpec) -> int | None:
    """mmcv's argument that makes D of C, if there is one."""
    c, d = spec.channels, spec.inner_channels
    return next((r for r in range(1, c + 1) if c // r == d), None)


def _mmcv_rules(spec: NonLocalSpec) -> list[Rule]:
    scales = (1.0, spec.inner_channels**-0.5)
    return [
        *_after_embedding(spec),
        _by_function(spec),
        Rule(
            "scale",
            "scale is 1, or D**-0.5 with use_scale for the embedded Gaussian",
            spec.scale in (scales if spec.pairwise == "embedded_gaussian" else (1.0,)),
        ),
        _no_pair_bias(spec),
    ]


def _alexhex7_layers(pools: bool, batch_norm: bool) -> dict[str, str]:
    at = ".0" if pools else ""
    return {
        "theta": "theta",
        "phi": f"phi{at}",
        "g": f"g{at}",
        "f": "concat_project.0",
        "out": "W.0" if batch_norm else "W",
        "bn": "W.1",
    }


def _alexhex7_rules(spec: NonLocalSpec) -> list[Rule]:
    return [
        *_after_embedding(spec),
        _by_function(spec),
        Rule("scale", "scale is 1", spec.scale == 1.0),
        _no_pair_bias(spec),
        Rule("eps", "eps is 1e-5", spec.eps == 1e-5),
    ]


def _conv_layers(norm: str) -> Callable[[bool, bool], dict[str, str]]:
    """Of a block whose layers have our names with conv_ before them."""
    names = {part: f"conv_{part}" for part in ("theta", "phi", "g", "out")} | {"bn": norm}
    return lambda pools, batch_norm: names


def _caffe2_form(spec: NonLocalSpec) -> list[Rule]:
    known = ("embedded_gaussian", "dot_product")
    return [
        Rule("pairwise", "instantiation is softmax or dot_product", spec.pairwise in known),
        Rule("ndim", "ndim is 3", spec.ndim == 3),
    ]


def _softmax_or_dot_product(spec: NonLocalSpec) -> list[Rule]:
    softmax = spec.pairwise == "embedded_gaussian"
    return [
        Rule(
            "subsample_at",
            "pooling is before phi and g",
            spec.subsample is None or spec.subsample_at == "input",
        ),
        Rule(
            "normalization",
            "softmax is normalized by sum, dot_product by count",
            spec.normalization == ("sum" if softmax else "count"),
        ),
    ]


def _slowfast_rules(spec: NonLocalSpec) -> list[Rule]:
    softmax = spec.pairwise == "embedded_gaussian"
    return [
        _sees_all(spec),
        *_softmax_or_dot_product(spec),
        Rule(
            "scale",
            "scale is D**-0.5 for softmax, 1 for dot_product",
            spec.scale == (spec.inner_channels**-0.5 if softmax else 1.0),
        ),
    ]


def _caffe2_rules(spec: NonLocalSpec) -> list[Rule]:
    softmax = spec.pairwise == "embedded_gaussian"
    scales = (1.0, spec.inner_channels**-0.5) if softmax else (1.0,)
    return [
        Rule("extent", "every position sees all others of its frames", spec.extent == "all"),
        Rule(
            "subsample",
            "the pooling window is square, over one frame",
            spec.pool[0] == 1 and len(set(spec.pool[1:])) <= 1,
        ),
        *_softmax_or_dot_product(spec),
        Rule("scale", "scale is 1, or D**-0.5 with USE_SCALE for softmax", spec.scale in scales),
    ]


def _caffe2_name(layer: str, leaf: str) -> str:
    normalization = {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"}
    return f"{layer}_{normalization[leaf] if layer.endswith('bn') else leaf[0]}"


def _timm_layers(pools: bool, batch_norm: bool) -> dict[str, str]:
    return {"theta": "t", "phi": "p", "g": "g", "out": "z", "bn": "norm"}


def _timm_form(spec: NonLocalSpec) -> list[Rule]:
    return [
        Rule(
            "pairwise",
            "the embedded Gaussian is the only pairwise function",
            spec.pairwise == "embedded_gaussian",
        ),
        Rule("ndim", "ndim is 2", spec.ndim == 2),
        Rule("batch_norm", "there is always batch normalization", spec.batch_norm),
    ]


def _timm_rules(spec: NonLocalSpec) -> list[Rule]:
    scales = (spec.channels**-0.5, 1.0)
    return [
        Rule("subsample", "there is no pooling", spec.subsample is None),
        Rule("normalization", "normalization is by sum", spec.normalization == "sum"),
        Rule("scale", "scale is C**-0.5, or 1 without use_scale", spec.scale in scales),
        Rule("eps", "eps is 1e-5", spec.eps == 1e-5),
    ]


def _sees_all(spec: NonLocalSpec) -> Rule:
    field = "window" if spec.extent == "all" else "extent"
    holds = spec.extent == "all" and spec.window is None
    return Rule(field, "every position sees all others", holds)


def _after_embedding(spec: NonLocalSpec) -> list[Rule]:
    pool = POOLS[spec.ndim]
    return [
        _sees_all(spec),
        Rule("subsample", f"the pooling window is {pool}", spec.subsample in (None, pool)),
        Rule(
            "subsample_at",
            "pooling is after phi and g",
            spec.subsample is None or spec.subsample_at == "embedding",
        ),
    ]


def _by_function(spec: NonLocalSpec) -> Rule:
    return Rule(
        "normalization",
        "the Gaussians are normalized by sum, the others by count",
        spec.normalization == ("sum" if "gaussian" in spec.pairwise else "count"),
    )


def _no_pair_bias(spec: NonLocalSpec) -> Rule:
    return Rule("pair_bias", "there is no bias inside the ReLU", not spec.pair_bias)


ORIGINS: dict[str, Origin] = {
    "mmcv": Origin(
        dialect="mmcv",
        source="mmcv 2.2.0, NonLocal1d, NonLocal2d and NonLocal3d; mmaction2's networks have it",
        layers=_mmcv_layers,
        form=_mmcv_form,
        rules=_mmcv_rules,
        bare_out=True,
        must_say=("use_scale",),  # by default it is on, in mmaction2's published models off
    ),
    "alexhex7": Origin(
        dialect="alexhex7",
        source="AlexHex7/Non-local_pytorch, lib/non_local_*.py",
        layers=_alexhex7_layers,
        form=lambda spec: [],
        rules=_alexhex7_rules,
    ),
    "slowfast": Origin(
        dialect="caffe2",
        source="facebookresearch/SlowFast, slowfast/models/nonlocal_helper.py",
        layers=_conv_layers("bn"),
        form=_caffe2_form,
        rules=_slowfast_rules,
        must_say=("subsample",),  # its class does not pool by default, its networks do
    ),
    "pytorchvideo": Origin(
        dialect="caffe2",
        source="pytorchvideo 0.1.5, layers/nonlocal_net.py",
        layers=_conv_layers("norm"),
        form=_caffe2_form,
        rules=_slowfast_rules,
        must_say=("subsample",),
    ),
    "caffe2": Origin(
        dialect="caffe2",
        source="facebookresearch/video-nonlocal-net, lib/models/nonlocal_helper.py",
        layers=lambda pools, batch_norm: {
            part: part for part in ("theta", "phi", "g", "out", "bn")
        },
        form=_caffe2_form,
        rules=_caffe2_rules,
        join=_caffe2_name,
        bias_optional=True,
        affine=True,
        ignored=r".*_momentum|lr|model_iter|epoch",
    ),
    "timm": Origin(
        dialect="timm",
        source="timm 1.0.31, layers/non_local_attn.py",
        layers=_timm_layers,
        form=_timm_form,
        rules=_timm_rules,
    ),
}
