"""Blocks of other projects by name and shape: what is read, what must be said, what goes back."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

import nlcore
from nlcore import DIALECTS, NonLocalSpec, dialect, init_weights, weight_shapes
from nlcore.checkpoints.block_conversion import convert_block, export_block
from nlcore.checkpoints.block_origins import ORIGINS, block_naming, block_places
from nlcore.dialects import POOLS
from nlcore.spec import PAIRWISE

C, D = 6, 3
BN = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def layer(name, *shape, bias=True):
    return {f"{name}.weight": shape} | ({f"{name}.bias": shape[:1]} if bias else {})


def norm(name):
    return {f"{name}.{part}": () if part == BN[-1] else (C,) for part in BN}


#: What state dicts of these modules hold: names and shapes, read in their sources or printed.
STATES = {
    "mmcv NonLocal3d, sub_sample, BN, concatenation": (
        layer("g.0.conv", D, C, 1, 1, 1)
        | layer("conv_out.conv", C, D, 1, 1, 1, bias=False)
        | norm("conv_out.bn")
        | layer("theta.conv", D, C, 1, 1, 1)
        | layer("phi.0.conv", D, C, 1, 1, 1)
        | layer("concat_project.conv", 1, 2 * D, 1, 1, bias=False)
    ),
    "mmcv NonLocal1d, no norm": (
        layer("g.conv", D, C, 1)
        | layer("conv_out.conv", C, D, 1)
        | layer("theta.conv", D, C, 1)
        | layer("phi.conv", D, C, 1)
    ),
    "mmcv NonLocal2d, sub_sample, gaussian": (
        layer("g.0.conv", D, C, 1, 1) | layer("conv_out.conv", C, D, 1, 1)
    ),
    "AlexHex7 2-D, sub_sample, BN": (
        layer("g.0", D, C, 1, 1)
        | layer("W.0", C, D, 1, 1)
        | norm("W.1")
        | layer("theta", D, C, 1, 1)
        | layer("phi.0", D, C, 1, 1)
    ),
    "AlexHex7 3-D, concatenation": (
        layer("g", D, C, 1, 1, 1)
        | layer("W", C, D, 1, 1, 1)
        | layer("theta", D, C, 1, 1, 1)
        | layer("phi", D, C, 1, 1, 1)
        | layer("concat_project.0", 1, 2 * D, 1, 1, bias=False)
    ),
    "SlowFast": (
        layer("conv_theta", D, C, 1, 1, 1)
        | layer("conv_phi", D, C, 1, 1, 1)
        | layer("conv_g", D, C, 1, 1, 1)
        | layer("conv_out", C, D, 1, 1, 1)
        | norm("bn")
    ),
    "pytorchvideo, no norm": (
        layer("conv_theta", D, C, 1, 1, 1)
        | layer("conv_phi", D, C, 1, 1, 1)
        | layer("conv_g", D, C, 1, 1, 1)
        | layer("conv_out", C, D, 1, 1, 1)
    ),
    "timm": (
        layer("t", D, C, 1, 1)
        | layer("p", D, C, 1, 1)
        | layer("g", D, C, 1, 1)
        | layer("z", C, D, 1, 1)
        | norm("norm")
    ),
    "C2": {
        **{f"{part}_w": (D, C, 1, 1, 1) for part in ("theta", "phi", "g")},
        **{f"{part}_b": (D,) for part in ("theta", "phi", "g")},
        **{"out_w": (C, D, 1, 1, 1), "out_b": (C,)},
        **{f"bn_{part}": (C,) for part in ("s", "b", "rm", "riv")},
        "theta_w_momentum": (D, C, 1, 1, 1),
        "model_iter": (),
    },
    "C2, affine, no biases": {
        **{f"{part}_w": (D, C, 1, 1, 1) for part in ("theta", "phi", "g")},
        **{"out_w": (C, D, 1, 1, 1), "bn_s": (C,), "bn_b": (C,)},
    },
}
#: State -> origin, what has to be said, the spec.
SPECS = {
    "mmcv NonLocal3d, sub_sample, BN, concatenation": (
        "mmcv",
        {},
        NonLocalSpec(C, D, pairwise="concatenation", subsample=(1, 2, 2), bias="embeddings"),
    ),
    "mmcv NonLocal1d, no norm": (
        "mmcv",
        {"pairwise": "embedded_gaussian", "use_scale": True},
        NonLocalSpec(C, D, 1, scale=D**-0.5, bias=True, batch_norm=False),
    ),
    "mmcv NonLocal2d, sub_sample, gaussian": (
        "mmcv",
        {},
        NonLocalSpec(C, D, 2, "gaussian", subsample=(2, 2), bias=True, batch_norm=False),
    ),
    "AlexHex7 2-D, sub_sample, BN": (
        "alexhex7",
        {"pairwise": "dot_product"},
        NonLocalSpec(C, D, 2, "dot_product", subsample=(2, 2), bias=True),
    ),
    "AlexHex7 3-D, concatenation": (
        "alexhex7",
        {},
        NonLocalSpec(C, D, pairwise="concatenation", bias=True, batch_norm=False),
    ),
    "SlowFast": (
        "slowfast",
        {"pairwise": "embedded_gaussian", "subsample": (1, 2, 2)},
        NonLocalSpec(C, D, scale=D**-0.5, subsample=(1, 2, 2), subsample_at="input", bias=True),
    ),
    "pytorchvideo, no norm": (
        "pytorchvideo",
        {"pairwise": "dot_product", "subsample": None},
        NonLocalSpec(
            C, D, pairwise="dot_product", subsample_at="input", bias=True, batch_norm=False
        ),
    ),
    "timm": ("timm", {}, NonLocalSpec(C, D, 2, "embedded_gaussian", scale=C**-0.5, bias=True)),
    "C2": (
        "caffe2",
        {"pairwise": "embedded_gaussian", "eps": 1.0000001e-5},
        NonLocalSpec(
            C,
            D,
            scale=D**-0.5,
            subsample=(1, 2, 2),
            subsample_at="input",
            bias=True,
            eps=1.0000001e-5,
        ),
    ),
    "C2, affine, no biases": (
        "caffe2",
        {"pairwise": "dot_product"},
        NonLocalSpec(C, D, pairwise="dot_product", subsample=(1, 2, 2), subsample_at="input"),
    ),
}
MMCV = "mmcv NonLocal3d, sub_sample, BN, concatenation"


def filled(name, prefix="", seed=0):
    """The state with random values, float32."""
    rng = np.random.default_rng(seed)
    state = {
        prefix + key: rng.normal(size=shape).astype(np.float32)
        for key, shape in STATES[name].items()
    }
    return {key: np.abs(v) if key.endswith(("var", "riv")) else v for key, v in state.items()}


@pytest.mark.parametrize("prefix", ["", "backbone.layer2.1.(block)."])
@pytest.mark.parametrize("name", SPECS)
def test_the_spec_is_read_from_names_and_shapes(name, prefix):
    origin, said, spec = SPECS[name]
    state = filled(name, prefix)
    elsewhere = {"other.weight": np.ones(3)} if prefix else {}
    converted = convert_block(state | elsewhere, origin, **said, prefix=prefix)
    assert converted.spec == spec
    assert converted.spec.dialect.split()[0] == ORIGINS[origin].dialect
    nlcore.check_weights(spec, converted.weights)
    assert list(converted.weights) == list(weight_shapes(spec))
    assert converted.missing == converted.left_over == ()
    kinds = ("num_batches_tracked", "momentum", "model_iter")
    assert set(converted.ignored) == {n for n in state if n.endswith(kinds)}
    assert {*converted.names.values(), *converted.ignored} == set(state)
    for ours, theirs in converted.names.items():
        value = converted.weights[ours]
        np.testing.assert_array_equal(value.ravel(), state[theirs].ravel(), strict=True)
        assert value.shape == weight_shapes(spec)[ours]


#: Of each part, one of its names in each origin: a swap would keep shapes.
NAMES = {
    MMCV: {
        "theta.weight": "theta.conv.weight",
        "phi.weight": "phi.0.conv.weight",
        "g.bias": "g.0.conv.bias",
        "f.weight": "concat_project.conv.weight",
        "out.weight": "conv_out.conv.weight",
        "bn.running_var": "conv_out.bn.running_var",
    },
    "AlexHex7 2-D, sub_sample, BN": {
        "theta.weight": "theta.weight",
        "phi.bias": "phi.0.bias",
        "g.weight": "g.0.weight",
        "out.bias": "W.0.bias",
        "bn.bias": "W.1.bias",
    },
    "AlexHex7 3-D, concatenation": {"f.weight": "concat_project.0.weight", "out.bias": "W.bias"},
    "SlowFast": {
        "theta.bias": "conv_theta.bias",
        "phi.weight": "conv_phi.weight",
        "g.weight": "conv_g.weight",
        "bn.weight": "bn.weight",
    },
    "timm": {"theta.weight": "t.weight", "phi.weight": "p.weight", "bn.bias": "norm.bias"},
    "C2": {
        "theta.weight": "theta_w",
        "phi.bias": "phi_b",
        "g.weight": "g_w",
        "out.bias": "out_b",
        "bn.weight": "bn_s",
        "bn.bias": "bn_b",
        "bn.running_mean": "bn_rm",
        "bn.running_var": "bn_riv",
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_names(name):
    origin, said, _ = SPECS[name]
    found = convert_block(filled(name), origin, **said).names
    assert NAMES[name].items() <= found.items()


def test_mmcv_beside_batch_normalization_has_biases_of_the_embeddings():
    state = filled(MMCV)
    converted = convert_block(state, "mmcv")
    assert "out.bias" not in converted.weights and converted.notes == ()
    assert converted.spec == nlcore.dialect(
        "mmcv", C, "concatenation", inner_channels=D, subsample=(1, 2, 2), batch_norm=True
    )
    assert "ignored: conv_out.bn.num_batches_tracked" in converted.report()
    again = export_block(converted.spec, converted.weights, "mmcv")
    assert set(state) - set(again) == {"conv_out.bn.num_batches_tracked"}
    for name, value in again.items():
        np.testing.assert_array_equal(value, state[name], strict=True)


@pytest.mark.parametrize("v", [2, 7])
def test_g_may_have_a_width_of_its_own(v):
    state = (
        filled("timm")
        | {"g.weight": np.ones((v, C, 1, 1)), "g.bias": np.ones(v)}
        | {"z.weight": np.ones((C, v, 1, 1))}
    )
    converted = convert_block(state, "timm")
    spec = converted.spec
    assert (spec.inner_channels, spec.value_channels) == (D, v)
    assert spec == nlcore.dialect("timm", C, inner_channels=D, value_channels=v)
    with pytest.raises(ValueError, match="timm does not support value_channels"):
        export_block(spec, converted.weights, "timm")


@pytest.mark.parametrize("origin", ORIGINS)
def test_biases_of_the_embeddings_alone_are_written_with_zeros(origin):
    fields = {"inner_channels": D, "bias": "embeddings", "subsample": None, "batch_norm": True}
    spec = nlcore.dialect(ORIGINS[origin].dialect, C, **fields)
    weights = nlcore.init_weights(spec, np.random.default_rng(0), identity=False)
    state = export_block(spec, weights, origin)
    said = {"use_scale": True} if origin == "mmcv" else {}
    again = convert_block(state, origin, "embedded_gaussian", subsample=None, **said)
    assert again.spec.bias == ("embeddings" if origin == "mmcv" else True)
    assert not again.weights.pop("out.bias", np.zeros(C)).any()
    assert again.weights.keys() == weights.keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(again.weights[name], value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_affine_layers_are_a_scale_and_a_shift_exactly(dtype):
    state = {n: v.astype(dtype) for n, v in filled("C2, affine, no biases").items()}
    for eps in (1e-5, 1.0000001e-5):
        converted = convert_block(state, "caffe2", "dot_product", eps=eps)
        weights = converted.weights
        assert not weights["bn.running_mean"].any()
        assert np.all(weights["bn.running_var"] + dtype(eps) == 1)
        assert weights["bn.running_var"].dtype == dtype
        np.testing.assert_array_equal(weights["bn.weight"], state["bn_s"])
        np.testing.assert_array_equal(weights["bn.bias"], state["bn_b"])
        assert converted.notes[0].startswith("mean 0 and variance 1 - eps, because")


def test_statistics_of_half_precision_layers_are_single():
    state = {n: v.astype(np.float16) for n, v in filled("C2, affine, no biases").items()}
    weights = convert_block(state, "caffe2", "dot_product").weights
    assert weights["bn.running_var"].dtype == np.float32
    assert np.all(weights["bn.running_var"] + np.float32(1e-5) == 1)


def test_batch_normalization_goes_back_as_a_scale_and_a_shift():
    spec = NonLocalSpec(
        2, 1, subsample_at="input", bias=True, eps=0.25, scale=1.0, pairwise="dot_product"
    )
    weights = {n: np.zeros(shape, np.float32) for n, shape in weight_shapes(spec).items()}
    weights |= {"bn.weight": np.float32([3, -1]), "bn.bias": np.float32([1, 0])}
    weights["bn.running_mean"] = np.float32([5, 2])
    weights["bn.running_var"] = np.float32([3.75, 0])  # and eps: 2 and 1/2, squared
    state = export_block(spec, weights, "caffe2", affine=True, prefix="nonlocal_conv4_1_")
    assert {n for n in state if "_bn_" in n} == {"nonlocal_conv4_1_bn_s", "nonlocal_conv4_1_bn_b"}
    np.testing.assert_array_equal(state["nonlocal_conv4_1_bn_s"], np.float32([1.5, -2]))
    np.testing.assert_array_equal(state["nonlocal_conv4_1_bn_b"], np.float32([-6.5, 4]))
    assert state["nonlocal_conv4_1_bn_s"].dtype == np.float32
    with pytest.raises(ValueError, match="affine must be False for slowfast"):
        export_block(spec, weights, "slowfast", affine=True)


def held(origin):
    """Specs that the origin's block can have."""
    known = ORIGINS[origin]
    dialect = DIALECTS[known.dialect]
    for pairwise, ndim, pools, batch_norm in itertools.product(
        dialect.pairwise, dialect.ndims, (False, True), (False, True)
    ):
        spec = nlcore.dialect(
            known.dialect,
            C,
            pairwise,
            ndim=ndim,
            inner_channels=D,
            subsample=POOLS[ndim] if pools else None,
            batch_norm=batch_norm,
        )
        if all(rule.holds for rule in (*known.form(spec), *known.limits(spec))):
            yield spec


COUNTS = {
    "mmcv": 48,
    "alexhex7": 48,
    "slowfast": 8,
    "pytorchvideo": 8,
    "caffe2": 8,
    "timm": 1,
}


@pytest.mark.parametrize("origin", ORIGINS)
def test_there_and_back(origin):
    specs = list(held(origin))
    assert len(specs) == COUNTS[origin]
    for spec in specs:
        weights = nlcore.init_weights(spec, np.random.default_rng(1), identity=False)
        state = export_block(spec, weights, origin, prefix="a.")
        said = {"pairwise": spec.pairwise, "use_scale": spec.scale != 1, "prefix": "a."}
        if origin == "alexhex7":
            said["use_scale"] = None
        back = convert_block(state, origin, **said, subsample=spec.subsample)
        assert back.spec == spec
        assert set(back.names.values()) == set(state)
        assert back.weights.keys() == weights.keys()
        for name, value in weights.items():
            np.testing.assert_array_equal(back.weights[name], value, strict=True)


@pytest.mark.parametrize("origin", ["mmcv", "alexhex7", "slowfast", "pytorchvideo", "timm"])
def test_biases_that_the_spec_has_not_are_zero_there(origin):
    spec = replace(next(iter(held(origin))), bias=False)
    weights = nlcore.init_weights(spec, np.random.default_rng(1), identity=False)
    weights = {name: value.astype(np.float32) for name, value in weights.items()}
    state = export_block(spec, weights, origin)
    expected = {place.name for place in block_places(origin, replace(spec, bias=True)).values()}
    assert set(state) == expected
    biases = set(state) - {place.name for place in block_places(origin, spec).values()}
    assert len(biases) >= 2
    assert all(state[name].dtype == np.float32 and not state[name].any() for name in biases)


def test_c2_may_be_without_biases():
    spec = replace(next(iter(held("caffe2"))), bias=False)
    weights = nlcore.init_weights(spec, np.random.default_rng(1))
    names = {n.removesuffix(".weight") + "_w" for n in weights if not n.startswith("bn.")}
    norms = {f"bn_{part}" for part in ("s", "b", "rm", "riv")} if spec.batch_norm else set()
    assert set(export_block(spec, weights, "caffe2")) == names | norms


REFUSED = [
    ("slowfast", {"pairwise": "concatenation", "scale": 1.0}, "pairwise='concatenation'"),
    ("slowfast", {"pairwise": "gaussian", "scale": 1.0}, "pairwise='gaussian'"),
    ("slowfast", {"ndim": 2, "subsample": None}, "ndim=2"),
    ("slowfast", {"subsample_at": "embedding"}, "subsample_at='embedding'"),
    ("slowfast", {"scale": 1.0}, "scale=1.0"),
    ("pytorchvideo", {"normalization": "count"}, "normalization='count'"),
    ("pytorchvideo", {"extent": "space"}, "extent='space'"),
    ("caffe2", {"subsample": (2, 2, 2)}, r"subsample=\(2, 2, 2\)"),
    ("caffe2", {"subsample": (1, 2, 3)}, r"subsample=\(1, 2, 3\)"),
    ("caffe2", {"extent": "space"}, "extent='space'"),
    ("caffe2", {"scale": 0.3}, "scale=0.3"),
    ("caffe2", {"ndim": 1, "subsample": None}, "ndim=1"),
    ("mmcv", {"inner_channels": 4, "scale": 1.0}, "inner_channels=4"),
    ("mmcv", {"subsample": (2, 2, 2)}, r"subsample=\(2, 2, 2\)"),
    ("mmcv", {"window": 2}, "window=2"),
    ("mmcv", {"pairwise": "concatenation", "scale": 1.0, "pair_bias": True}, "pair_bias=True"),
    ("alexhex7", {"scale": 0.5}, "scale=0.5"),
    ("alexhex7", {"eps": 1e-3}, "eps=0.001"),
    ("timm", {"batch_norm": False}, "batch_norm=False"),
    ("timm", {"pairwise": "dot_product", "scale": 1.0}, "pairwise='dot_product'"),
    ("timm", {"subsample": (2, 2)}, r"subsample=\(2, 2\)"),
    *((origin, {"value_channels": 7}, "value_channels=7") for origin in ORIGINS),
]


@pytest.mark.parametrize(("origin", "change", "field"), REFUSED)
def test_what_an_origin_cannot_hold_is_named(origin, change, field):
    (spec,) = [
        spec
        for spec in held(origin)
        if (spec.pairwise, spec.ndim)
        == ("embedded_gaussian", DIALECTS[ORIGINS[origin].dialect].ndims[0])
        and spec.batch_norm
        and (spec.subsample or origin == "timm")
    ]
    if "pairwise" in change:
        change = {"normalization": None, **change}
    other = replace(spec, **change)
    weights = nlcore.init_weights(other, np.random.default_rng(0))
    with pytest.raises(ValueError, match=rf"^{origin} does not support {field}: in its block, "):
        export_block(other, weights, origin)


def test_a_bias_that_mmcv_has_no_place_for_is_refused():
    spec = replace(next(spec for spec in held("mmcv") if spec.batch_norm), bias=True)
    weights = nlcore.init_weights(spec, np.random.default_rng(0))
    weights["out.bias"][2] = 1e-9
    with pytest.raises(ValueError, match=r"mmcv has no place for 'out.bias': expected 0"):
        export_block(spec, weights, "mmcv")


UNSAID = [
    ("mmcv NonLocal1d, no norm", {"use_scale": True}, r"pass pairwise, one of \('embedded_ga"),
    ("mmcv NonLocal1d, no norm", {"pairwise": "embedded_gaussian"}, "pass use_scale, True or"),
    ("mmcv NonLocal1d, no norm", {}, "pairwise, one of .*; use_scale"),
    ("SlowFast", {"subsample": None}, "pass pairwise, one of"),
    ("SlowFast", {}, "pairwise, one of .*; subsample, None or the pooling window$"),
    ("pytorchvideo, no norm", {"pairwise": "dot_product"}, "pass subsample"),
    ("C2", {}, "pass pairwise, one of"),
]


@pytest.mark.parametrize(("name", "said", "message"), UNSAID)
def test_what_names_do_not_tell_must_be_said(name, said, message):
    with pytest.raises(ValueError, match=f"names and shapes do not determine .*{message}"):
        convert_block(filled(name), SPECS[name][0], **said)


def test_without_a_scale():
    state = filled("mmcv NonLocal1d, no norm")
    assert convert_block(state, "mmcv", "embedded_gaussian", use_scale=False).spec.scale == 1
    assert convert_block(state, "mmcv", "dot_product").spec.scale == 1
    assert convert_block(filled("timm"), "timm", use_scale=False).spec.scale == 1
    with pytest.raises(
        ValueError, match=r"slowfast does not support scale=1.0: in its block, scale is D"
    ):
        convert_block(
            filled("SlowFast"), "slowfast", "embedded_gaussian", use_scale=False, subsample=None
        )
    with pytest.raises(ValueError, match="the block of alexhex7 has no scale"):
        convert_block(
            filled("AlexHex7 2-D, sub_sample, BN"), "alexhex7", "embedded_gaussian", use_scale=True
        )


def test_what_is_missing_or_left_over_is_an_error():
    state = filled(MMCV, "b.")
    state["b.extra"], state["b.conv_out.bn.scale"] = np.ones(1), np.ones(1)
    del state["b.phi.0.conv.bias"]
    expected = (
        r"missing: \['phi.bias'\]; left over: \['b.conv_out.bn.scale', 'b.extra'\] \(partial=True"
    )
    with pytest.raises(ValueError, match=expected):
        convert_block(state, "mmcv", prefix="b.")
    converted = convert_block(state, "mmcv", prefix="b.", partial=True)
    assert converted.missing == ("phi.bias",)
    assert converted.left_over == ("b.conv_out.bn.scale", "b.extra")
    assert set(converted.weights) == set(weight_shapes(converted.spec)) - {"phi.bias"}
    assert "missing: phi.bias\nleft over: b.conv_out.bn.scale, b.extra\n" in converted.report()


def test_one_of_two_statistics_is_not_an_affine_layer():
    state = filled("C2")
    del state["bn_rm"]
    with pytest.raises(ValueError, match=r"missing: \['bn.running_mean'\]; left over: \[\]"):
        convert_block(state, "caffe2", "dot_product")


@pytest.mark.parametrize("partial", [False, True])
def test_a_weight_of_another_shape_is_an_error(partial):
    state = filled(MMCV)
    state["conv_out.conv.weight"] = np.ones((D, C, 1, 1, 1))
    expected = (
        r"'conv_out.conv.weight' must have shape \(6, 3, 1, 1, 1\) to become 'out.weight'; "
        r"received shape \(3, 6, 1, 1, 1\)"
    )
    with pytest.raises(ValueError, match=expected):
        convert_block(state, "mmcv", partial=partial)


def test_convolutions_wider_than_1_are_an_error():
    for shape in ((D, C, 1, 3, 3), (D, C), (D,)):
        state = filled("SlowFast") | {"conv_g.weight": np.ones(shape)}
        with pytest.raises(ValueError, match=r"'conv_g.weight' must have shape \(V, C, 1\)"):
            convert_block(state, "slowfast", "dot_product", subsample=None)


def test_weights_must_be_floating_point():
    state = filled(MMCV) | {"theta.conv.bias": np.ones(D, np.int64)}
    with pytest.raises(TypeError, match=r"'theta.conv.bias' must be floating point"):
        convert_block(state, "mmcv")


def test_a_pairwise_function_that_names_do_not_fit():
    for name, given, fitting in (
        (MMCV, "dot_product", r"\('concatenation',\)"),
        ("mmcv NonLocal2d, sub_sample, gaussian", "embedded_gaussian", r"\('gaussian',\)"),
        ("timm", "gaussian", r"\('embedded_gaussian', 'dot_product'\)"),
    ):
        with pytest.raises(ValueError, match=f"pairwise must be one of {fitting}.*'{given}'$"):
            convert_block(filled(name), SPECS[name][0], given)
    state = {n: v for n, v in filled("SlowFast").items() if "theta" not in n and "phi" not in n}
    with pytest.raises(ValueError, match=r"\('gaussian',\), which .* and of .*, which slowfast"):
        convert_block(state, "slowfast", subsample=None)


def test_another_projects_block():
    for origin in set(ORIGINS) - {"slowfast", "pytorchvideo"}:
        with pytest.raises(ValueError, match=f"a block of {origin}, .*received .'bn.bias'"):
            convert_block(filled("SlowFast"), origin, "dot_product", subsample=None)
    with pytest.raises(ValueError, match=r"missing: \[\]; left over: \['bn.bias'"):  # its is norm
        convert_block(filled("SlowFast"), "pytorchvideo", "dot_product", subsample=None)
    with pytest.raises(ValueError, match=r"origin must be one of \('mmcv', .*received 'torch'"):
        convert_block(filled("SlowFast"), "torch")
    with pytest.raises(ValueError, match="a block of mmcv"):
        convert_block(filled(MMCV), "mmcv", prefix="nowhere.")


OWN = block_naming(theta="query", phi="key", g="value", out="project", bn="norm", f="pair")


@pytest.mark.parametrize("pairwise", PAIRWISE)
@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_own_names(pairwise, batch_norm, bias):
    fields = {"subsample": (1, 2, 2), "bias": bias, "batch_norm": batch_norm}
    spec = dialect("paper", 16, pairwise, **fields)
    weights = init_weights(spec, np.random.default_rng(0))
    state = export_block(spec, weights, OWN, prefix="neck.")
    assert state["neck.value.weight"].shape == (8, 16, 1, 1, 1)
    assert ("neck.query.weight" in state) == (pairwise != "gaussian")
    assert ("neck.norm.running_var" in state) == batch_norm
    assert not [name for name in state if "theta" in name or ".g." in name]
    state["neck.norm.num_batches_tracked"] = np.asarray(3)
    converted = convert_block(state, OWN, pairwise, prefix="neck.", subsample=(1, 2, 2))
    assert converted.spec == spec
    assert converted.weights.keys() == weights.keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(converted.weights[name], value)


def test_own_names_with_a_dialect_and_what_they_do_not_show():
    spec = dialect("caffe2", 16, "embedded_gaussian")
    naming = block_naming(g="value", out="z", dialect="caffe2")
    state = export_block(spec, init_weights(spec, np.random.default_rng(0)), naming)
    with pytest.raises(
        ValueError, match=r"of own names: {'g': 'value', 'out': 'z'}: pass pairwise"
    ):
        convert_block(state, naming)
    converted = convert_block(state, naming, "embedded_gaussian", subsample=(1, 2, 2))
    assert converted.spec == spec and converted.spec.scale == 8**-0.5
    with pytest.raises(ValueError, match=r"expected a block of own names: .*'value.weight'"):
        convert_block({"g.weight": np.ones((8, 16, 1, 1, 1))}, naming)
    with pytest.raises(ValueError, match="the names of layers must differ"):
        block_naming(g="value", out="value")
    with pytest.raises(ValueError, match="dialect must be one of"):
        block_naming(g="value", out="z", dialect="own")
