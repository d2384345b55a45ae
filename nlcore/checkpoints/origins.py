"""Where blocks' weights come from: how other projects name them, and which blocks they have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nlcore.checkpoints import rules
from nlcore.checkpoints.converted import Place
from nlcore.checkpoints.rules import Rule
from nlcore.spec import NonLocalSpec
from nlcore.weights import weight_shapes


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


def _conv_layers(norm: str) -> Callable[[bool, bool], dict[str, str]]:
    """Of a block whose layers have our names with conv_ before them."""
    names = {part: f"conv_{part}" for part in ("theta", "phi", "g", "out")} | {"bn": norm}
    return lambda pools, batch_norm: names


def _timm_layers(pools: bool, batch_norm: bool) -> dict[str, str]:
    return {"theta": "t", "phi": "p", "g": "g", "out": "z", "bn": "norm"}


def _caffe2_name(layer: str, leaf: str) -> str:
    normalization = {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"}
    return f"{layer}_{normalization[leaf] if layer.endswith('bn') else leaf[0]}"


ORIGINS: dict[str, Origin] = {
    "mmcv": Origin(
        dialect="mmcv",
        source="mmcv 2.2.0, NonLocal1d, NonLocal2d and NonLocal3d; mmaction2's networks have it",
        layers=_mmcv_layers,
        form=rules.mmcv_form,
        rules=rules.mmcv_rules,
        bare_out=True,
        must_say=("use_scale",),  # by default it is on, in mmaction2's published models off
    ),
    "alexhex7": Origin(
        dialect="alexhex7",
        source="AlexHex7/Non-local_pytorch, lib/non_local_*.py",
        layers=_alexhex7_layers,
        form=lambda spec: [],
        rules=rules.alexhex7_rules,
    ),
    "slowfast": Origin(
        dialect="caffe2",
        source="facebookresearch/SlowFast, slowfast/models/nonlocal_helper.py",
        layers=_conv_layers("bn"),
        form=rules.caffe2_form,
        rules=rules.slowfast_rules,
        must_say=("subsample",),  # its class does not pool by default, its networks do
    ),
    "pytorchvideo": Origin(
        dialect="caffe2",
        source="pytorchvideo 0.1.5, layers/nonlocal_net.py",
        layers=_conv_layers("norm"),
        form=rules.caffe2_form,
        rules=rules.slowfast_rules,
        must_say=("subsample",),
    ),
    "caffe2": Origin(
        dialect="caffe2",
        source="facebookresearch/video-nonlocal-net, lib/models/nonlocal_helper.py",
        layers=lambda pools, batch_norm: {
            part: part for part in ("theta", "phi", "g", "out", "bn")
        },
        form=rules.caffe2_form,
        rules=rules.caffe2_rules,
        join=_caffe2_name,
        bias_optional=True,
        affine=True,
        ignored=r".*_momentum|lr|model_iter|epoch",
    ),
    "timm": Origin(
        dialect="timm",
        source="timm 1.0.31, layers/non_local_attn.py",
        layers=_timm_layers,
        form=rules.timm_form,
        rules=rules.timm_rules,
    ),
}
