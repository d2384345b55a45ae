"""Origins: the projects whose blocks can be converted, and their names for the weights.

SlowFast, for example, calls theta.weight conv_theta.weight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from nlcore.checkpoints import requirements
from nlcore.checkpoints.converted import Place
from nlcore.checkpoints.requirements import Requirement
from nlcore.dialects import DIALECTS
from nlcore.spec import NonLocalSpec
from nlcore.weights import weight_shapes


@dataclass(frozen=True)
class Origin:
    """The names and shapes of one project's block, and which specs it supports.

    Its weights have the shapes of convolutions with kernel size 1 over ndim axes. The shape of
    W_f is (1, 2D, 1, 1).
    """

    dialect: str
    source: str
    #: (subsamples, has batch normalization) -> names of the layers theta, phi, g, f, out and bn.
    layers: Callable[[bool, bool], dict[str, str]]
    #: What a spec must satisfy for a module with its weights to exist.
    form: Callable[[NonLocalSpec], list[Requirement]]
    #: What a spec must satisfy for that module to compute it.
    limits: Callable[[NonLocalSpec], list[Requirement]]
    #: (layer, "weight", "bias", "running_mean" or "running_var") -> name of the weight.
    join: Callable[[str, str], str] = "{}.{}".format
    #: Whether W_z has no bias if the block has batch normalization (bias="embeddings").
    bare_out: bool = False
    #: Whether the block can be without biases. If False, it always has some.
    bias_optional: bool = False
    #: Whether batch normalization can be an affine layer, which has only a scale and a shift.
    affine: bool = False
    #: Arguments of `convert_block` without a default, because the project has no usual value.
    must_say: tuple[str, ...] = ()
    #: Regular expression of the names that are not weights, such as counts of batches.
    ignored: str = r"(.*\.)?num_batches_tracked"

    def __str__(self) -> str:
        return self.source


def block_naming(
    *,
    g: str,
    out: str,
    theta: str = "theta",
    phi: str = "phi",
    f: str = "f",
    bn: str = "bn",
    dialect: str = "paper",
) -> Origin:
    """An origin for `convert_block` and `export_block`: blocks whose layers have these names.

    The layers theta, phi, g and out are convolutions with kernel size 1, and bn is batch
    normalization, as in PyTorch: "query" has the weights "query.weight" and "query.bias".

    Parameters
    ----------
    g, out, theta, phi, f, bn : str
        Names of the layers. A block without embeddings or batch normalization has no such names.
    dialect : str
        Dialect of the blocks. Names and shapes do not show it, see `nlcore.DIALECTS`.

    Returns
    -------
    Origin

    Examples
    --------
    >>> naming = block_naming(theta="query", phi="key", g="value", out="project", bn="norm")
    >>> str(naming)
    "own names: {'theta': 'query', 'phi': 'key', 'g': 'value', 'out': 'project', 'bn': 'norm'}"
    """
    layers = {"theta": theta, "phi": phi, "g": g, "f": f, "out": out, "bn": bn}
    given = {part: name for part, name in layers.items() if part != name}
    if dialect not in DIALECTS:
        raise ValueError(f"dialect must be one of {tuple(DIALECTS)}; received {dialect!r}")
    if len(set(layers.values())) != len(layers):
        raise ValueError(f"the names of layers must differ; received {layers}")
    return Origin(
        dialect=dialect,
        source=f"own names: {given}",
        layers=lambda pools, batch_norm: layers,
        form=lambda spec: [],
        limits=lambda spec: [],
        bias_optional=True,
        must_say=("subsample",),
    )


def block_places(origin: str | Origin, spec: NonLocalSpec) -> dict[str, Place]:
    """nlcore's names of a spec's weights -> their names and shapes in the origin.

    Weights that the origin's block does not have are left out. For example, mmcv's block has no
    out.bias with batch normalization.

    Raises
    ------
    ValueError
        The origin is unknown.
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


def with_own_biases(origin: str | Origin, spec: NonLocalSpec) -> NonLocalSpec:
    """The spec with every bias that the origin's block stores, if only as zeros.

    Raises
    ------
    ValueError
        The origin is unknown.
    """
    known = named_origin(origin)
    if known.bias_optional and not spec.bias:
        return spec
    return replace(spec, bias="embeddings" if known.bare_out and spec.batch_norm else True)


def check_holds(origin: str | Origin, spec: NonLocalSpec) -> None:
    """Raise a ValueError that names the field unless the origin's block can compute the spec."""
    known = named_origin(origin)
    for need in (*known.form(spec), *known.limits(spec)):
        if not need.holds:
            value = getattr(spec, need.field)
            raise ValueError(
                f"{origin} does not support {need.field}={value!r}: in its block, {need.words}; "
                f"received {spec}"
            )


def named_origin(origin: str | Origin) -> Origin:
    """Return the origin of this name, or the origin that is given, or raise a ValueError."""
    if isinstance(origin, Origin):
        return origin
    if not isinstance(origin, str) or origin not in ORIGINS:
        raise ValueError(f"origin must be one of {tuple(ORIGINS)}; received {origin!r}")
    return ORIGINS[origin]


def _mmcv_layers(pools: bool, batch_norm: bool) -> dict[str, str]:
    at = ".0" if pools else ""  # with pooling, the layer is a Sequential of convolution and pool
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
    """`Origin.layers` of a block whose layers have nlcore's names with the prefix conv_."""
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
        source="mmcv 2.2.0, NonLocal1d, NonLocal2d and NonLocal3d; mmaction2's networks use them",
        layers=_mmcv_layers,
        form=requirements.mmcv_form,
        limits=requirements.mmcv_limits,
        bare_out=True,
        must_say=("use_scale",),  # True by default, but False in mmaction2's published models
    ),
    "alexhex7": Origin(
        dialect="alexhex7",
        source="AlexHex7/Non-local_pytorch, lib/non_local_*.py",
        layers=_alexhex7_layers,
        form=requirements.alexhex7_form,
        limits=requirements.alexhex7_limits,
    ),
    "slowfast": Origin(
        dialect="caffe2",
        source="facebookresearch/SlowFast, slowfast/models/nonlocal_helper.py",
        layers=_conv_layers("bn"),
        form=requirements.caffe2_form,
        limits=requirements.slowfast_limits,
        must_say=("subsample",),  # by default its class does not subsample, but its networks do
    ),
    "pytorchvideo": Origin(
        dialect="caffe2",
        source="pytorchvideo 0.1.5, layers/nonlocal_net.py",
        layers=_conv_layers("norm"),
        form=requirements.caffe2_form,
        limits=requirements.slowfast_limits,
        must_say=("subsample",),
    ),
    "caffe2": Origin(
        dialect="caffe2",
        source="facebookresearch/video-nonlocal-net, lib/models/nonlocal_helper.py",
        layers=lambda pools, batch_norm: {
            part: part for part in ("theta", "phi", "g", "out", "bn")
        },
        form=requirements.caffe2_form,
        limits=requirements.caffe2_limits,
        join=_caffe2_name,
        bias_optional=True,
        affine=True,
        ignored=r".*_momentum|lr|model_iter|epoch",
    ),
    "timm": Origin(
        dialect="timm",
        source="timm 1.0.31, layers/non_local_attn.py",
        layers=_timm_layers,
        form=requirements.timm_form,
        limits=requirements.timm_limits,
    ),
}
