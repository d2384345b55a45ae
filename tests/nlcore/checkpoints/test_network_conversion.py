"""Networks of other projects by name and shape, against the lists in names/.

The lists are of ResNet-50 I3D with 5 non-local blocks. SlowFast's, pytorchvideo's and mmaction2's
are of models that these projects' code has built, C2's are the names that SlowFast's own loader
takes for these.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nlcore.checkpoints.network_conversion import convert_network, differences, export_network
from nlcore.checkpoints.network_origins import NETWORKS
from nlcore.video import NetworkSpec, network_weight_shapes, placement
from nlcore.video.network_layers import SLOW_ONLY
from nlcore.video.published_networks import PUBLISHED

DOT = "i3d_imagenet-pretrained-r50-nl-dot-product_8xb8-32x2x1-100e_kinetics400-rgb"
GAUSSIAN = DOT.replace("dot-product", "gaussian")
#: List -> a network of its names.
LISTED = {
    "slowfast": PUBLISHED["I3D_NLN_8x8_R50"].spec,
    "mmaction2": PUBLISHED[DOT].spec,
    "caffe2": PUBLISHED["i3d_nonlocal_32x2"].spec,
    "pytorchvideo": replace(PUBLISHED["i3d_r50"].spec, non_local=placement(50, 5)),
}
BEFORE = {"subsample": (1, 2, 2), "subsample_at": "input", "bias": True}


def listed(name):
    """Every weight of the list, as arrays that take no memory."""
    lines = (Path(__file__).parent / "names" / f"{name}.txt").read_text().splitlines()
    parts = (line.split() for line in lines)
    return {key: np.broadcast_to(np.float32(0), tuple(map(int, shape))) for key, *shape in parts}


def weights_of(network, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    found = {n: rng.normal(size=s).astype(dtype) for n, s in network_weight_shapes(network).items()}
    return {n: np.abs(v) if n.endswith("var") else v for n, v in found.items()}


@pytest.mark.parametrize("origin", NETWORKS)
def test_every_weight_of_a_full_size_network_has_its_place(origin):
    network, state = LISTED[origin], listed(origin)
    converted = convert_network(state, network, origin)
    shapes = network_weight_shapes(network)
    assert converted.spec is network
    assert {name: value.shape for name, value in converted.weights.items()} == shapes
    assert converted.missing == converted.left_over == ()
    counts = tuple(name for name in sorted(state) if name.endswith("num_batches_tracked"))
    assert converted.ignored == counts
    assert len(counts) == (0 if origin == "caffe2" else 58)
    assert {*converted.names.values(), *counts} == set(state)
    back = export_network(network, converted.weights, origin)
    assert {name: value.shape for name, value in back.items()} == {
        name: value.shape for name, value in state.items() if name not in counts
    }


#: A name of each kind of layer: within a kind, shapes do not tell them apart.
NAMES = {
    "slowfast": {
        "conv1.weight": "s1.pathway0_stem.conv.weight",
        "bn1.running_mean": "s1.pathway0_stem.bn.running_mean",
        "res2.0.shortcut.weight": "s2.pathway0_res0.branch1.weight",
        "res2.0.shortcut_bn.bias": "s2.pathway0_res0.branch1_bn.bias",
        "res4.5.conv1.weight": "s4.pathway0_res5.branch2.a.weight",
        "res4.5.conv2.weight": "s4.pathway0_res5.branch2.b.weight",
        "res4.5.bn1.weight": "s4.pathway0_res5.branch2.a_bn.weight",
        "res4.5.bn2.weight": "s4.pathway0_res5.branch2.b_bn.weight",
        "res5.2.bn3.running_var": "s5.pathway0_res2.branch2.c_bn.running_var",
        "res3.1.non_local.theta.weight": "s3.pathway0_nonlocal1.conv_theta.weight",
        "res4.5.non_local.bn.weight": "s4.pathway0_nonlocal5.bn.weight",
        "fc.weight": "head.projection.weight",
        "fc.bias": "head.projection.bias",
    },
    "pytorchvideo": {
        "conv1.weight": "blocks.0.conv.weight",
        "bn1.running_mean": "blocks.0.norm.running_mean",
        "res2.0.shortcut.weight": "blocks.1.res_blocks.0.branch1_conv.weight",
        "res2.0.shortcut_bn.bias": "blocks.1.res_blocks.0.branch1_norm.bias",
        "res3.1.non_local.theta.weight": "blocks.3.res_blocks.2.conv_theta.weight",
        "res3.2.conv1.weight": "blocks.3.res_blocks.3.branch2.conv_a.weight",
        "res4.5.conv2.weight": "blocks.4.res_blocks.7.branch2.conv_b.weight",
        "res4.5.bn1.weight": "blocks.4.res_blocks.7.branch2.norm_a.weight",
        "res4.5.non_local.bn.weight": "blocks.4.res_blocks.8.norm.weight",
        "res5.2.bn3.running_var": "blocks.5.res_blocks.2.branch2.norm_c.running_var",
        "fc.weight": "blocks.6.proj.weight",
    },
    "mmaction2": {
        "conv1.weight": "backbone.conv1.conv.weight",
        "bn1.running_mean": "backbone.conv1.bn.running_mean",
        "res2.0.shortcut.weight": "backbone.layer1.0.downsample.conv.weight",
        "res2.0.shortcut_bn.bias": "backbone.layer1.0.downsample.bn.bias",
        "res4.5.conv1.weight": "backbone.layer3.5.conv1.conv.weight",
        "res4.5.bn1.weight": "backbone.layer3.5.conv1.bn.weight",
        "res4.5.bn2.weight": "backbone.layer3.5.conv2.bn.weight",
        "res5.2.bn3.running_var": "backbone.layer4.2.conv3.bn.running_var",
        "res3.1.non_local.theta.weight": "backbone.layer2.1.non_local_block.theta.conv.weight",
        "res3.1.non_local.phi.weight": "backbone.layer2.1.non_local_block.phi.0.conv.weight",
        "res4.5.non_local.bn.weight": "backbone.layer3.5.non_local_block.conv_out.bn.weight",
        "fc.weight": "cls_head.fc_cls.weight",
    },
    "caffe2": {
        "conv1.weight": "conv1_w",
        "bn1.weight": "res_conv1_bn_s",
        "bn1.bias": "res_conv1_bn_b",
        "bn1.running_mean": "res_conv1_bn_rm",
        "bn1.running_var": "res_conv1_bn_riv",
        "res2.0.shortcut.weight": "res2_0_branch1_w",
        "res2.0.shortcut_bn.bias": "res2_0_branch1_bn_b",
        "res4.5.conv1.weight": "res4_5_branch2a_w",
        "res4.5.bn1.weight": "res4_5_branch2a_bn_s",
        "res4.5.bn2.weight": "res4_5_branch2b_bn_s",
        "res5.2.bn3.running_var": "res5_2_branch2c_bn_riv",
        "res3.1.non_local.theta.weight": "nonlocal_conv3_1_theta_w",
        "res4.5.non_local.g.bias": "nonlocal_conv4_5_g_b",
        "res4.5.non_local.bn.running_var": "nonlocal_conv4_5_bn_riv",
        "fc.weight": "pred_w",
        "fc.bias": "pred_b",
    },
}


@pytest.mark.parametrize("origin", NETWORKS)
def test_names(origin):
    found = convert_network(listed(origin), LISTED[origin], origin).names
    assert NAMES[origin].items() <= found.items()


def test_the_gaussians_blocks_have_no_embeddings():
    state = {
        name: value
        for name, value in listed("mmaction2").items()
        if ".theta." not in name and ".phi." not in name
    }
    assert len(state) == len(listed("mmaction2")) - 5 * 4
    converted = convert_network(state, PUBLISHED[GAUSSIAN].spec, "mmaction2")
    assert len(converted.weights) == len(network_weight_shapes(PUBLISHED[GAUSSIAN].spec))
    with pytest.raises(ValueError, match=r"missing: \['res3.1.non_local.theta.weight', "):
        convert_network(state, PUBLISHED[DOT].spec, "mmaction2")
    with pytest.raises(ValueError, match=r"left over: \['backbone.layer2.1.non_local_block.phi.0"):
        convert_network(listed("mmaction2"), PUBLISHED[GAUSSIAN].spec, "mmaction2")


def test_c2_files_with_what_training_keeps():
    state = listed("caffe2")
    momentum = {f"{name}_momentum": v for name, v in state.items() if not name.endswith("rm")}
    kept = {**momentum, "lr": np.float32(0.01), "model_iter": np.asarray(3), "epoch": 1}
    converted = convert_network(state | kept, PUBLISHED["i3d_nonlocal_32x2"].spec, "caffe2")
    assert set(converted.ignored) == set(kept)


def test_slowfasts_model_zoo_has_c2s_names():
    network = PUBLISHED["I3D_NLN_8x8_R50"].spec
    of_c2 = convert_network(listed("caffe2"), network, "slowfast")
    assert of_c2.names["res2.0.conv1.weight"] == "res2_0_branch2a_w"
    of_slowfast = convert_network(listed("slowfast"), network, "slowfast")
    assert of_c2.notes == of_slowfast.notes
    assert not [note for note in of_c2.notes if "affine" in note]


def test_mmaction2s_normalization_of_inputs_is_no_weight():
    extra = {"data_preprocessor.mean": np.ones((3, 1, 1, 1)), "data_preprocessor.std": np.ones(1)}
    converted = convert_network(listed("mmaction2") | extra, PUBLISHED[DOT].spec, "mmaction2")
    assert set(extra) < set(converted.ignored)


def affine(state, blocks):
    """C2's state with affine layers; without batch normalization in its blocks, or with affine."""
    end = ("_rm", "_riv")
    return {
        name: value
        for name, value in state.items()
        if not name.endswith(end) and (blocks or "nonlocal" not in name or "_bn_" not in name)
    }


def test_affine_networks():
    network = PUBLISHED["i3d_nonlocal_32x4"].spec
    state = affine(listed("caffe2"), blocks=False)
    converted = convert_network(state, network, "caffe2")
    assert converted.weights.keys() == network_weight_shapes(network).keys()
    means = [n for n in converted.weights if n.endswith("running_mean")]
    assert len(means) == 53
    for name in means:
        variance = converted.weights[name.replace("mean", "var")]
        assert not converted.weights[name].any()
        assert np.all(variance + np.float32(1e-5) == 1)
        assert name not in converted.names
    (note,) = converted.notes
    assert note.startswith("mean 0 and variance 1 - eps, because")
    without = replace(network, block={"batch_norm": False})
    notes = convert_network(state, without, "caffe2").notes
    assert notes[1].endswith("the blocks of res3, but not of res4, in windows of 4 frames")
    back = export_network(network, converted.weights, "caffe2", affine=True)
    assert back.keys() == state.keys()


def test_no_other_file_may_lack_statistics():
    state = {n: v for n, v in listed("slowfast").items() if "running" not in n}
    with pytest.raises(ValueError, match=r"missing: \['bn1.running_mean', 'bn1.running_var', "):
        convert_network(state, PUBLISHED["I3D_NLN_8x8_R50"].spec, "slowfast")


def test_affine_blocks_have_their_own_eps():
    network = replace(PUBLISHED["i3d_nonlocal_8x8"].spec, block={**BEFORE, "eps": 0.25})
    converted = convert_network(affine(listed("caffe2"), blocks=True), network, "caffe2")
    assert np.all(converted.weights["res3.1.non_local.bn.running_var"] == 0.75)
    assert np.all(converted.weights["res3.1.bn1.running_var"] == np.float32(1 - 1e-5))


def test_one_missing_statistic_is_missing():
    state = listed("caffe2")
    del state["res4_3_branch2b_bn_riv"]
    with pytest.raises(ValueError, match=r"missing: \['res4.3.bn2.running_var'\]; left over: \[\]"):
        convert_network(state, PUBLISHED["i3d_nonlocal_32x2"].spec, "caffe2")


def small(**fields):
    return NetworkSpec(
        **{
            "inflation": "3x1x1",
            "non_local": placement(50, 5),
            "block": BEFORE,
            "width": 2,
            "classes": 3,
            **fields,
        }
    )


def test_theta_carries_the_scale_that_differs_by_stage():
    network = small()
    weights = weights_of(network)
    state = export_network(network, weights, "slowfast")
    for stage, inner in ((3, 8), (4, 16)):
        theirs = state[f"s{stage}.pathway0_nonlocal1.conv_theta.weight"].reshape(inner, -1)
        ours = weights[f"res{stage}.1.non_local.theta.weight"]
        np.testing.assert_array_equal(
            theirs, (ours.astype(np.float64) * inner**0.5).astype(np.float32), strict=True
        )
    converted = convert_network(state, network, "slowfast")
    assert (
        "res4.1.non_local.theta is multiplied by 0.25, the quotient of the two scales"
        in converted.notes
    )
    for name, value in weights.items():
        back = converted.weights[name]
        if ".theta." in name:  # two roundings, each of half a spacing at most
            assert np.all(np.abs(back - value) <= 2 * np.spacing(np.abs(value)))
        else:
            np.testing.assert_array_equal(back, value, strict=True)
    plain = export_network(network, weights, "caffe2", use_scale=False)
    again = convert_network(plain, network, "caffe2", use_scale=False)
    assert not [note for note in again.notes if "theta" in note]
    for name, value in weights.items():
        np.testing.assert_array_equal(again.weights[name], value, strict=True)


def test_mmaction2s_embedded_gaussian_has_no_scale_by_default():
    network = small(block={"subsample": (1, 2, 2), "bias": True})
    weights = weights_of(network)
    for block in network.non_local:
        weights[f"{block}.non_local.out.bias"][:] = 0
    plain = export_network(network, weights, "mmaction2")
    name = "backbone.layer3.3.non_local_block.theta.conv.weight"
    np.testing.assert_array_equal(
        plain[name].reshape(16, 32), weights["res4.3.non_local.theta.weight"]
    )
    scaled = export_network(network, weights, "mmaction2", use_scale=True)
    np.testing.assert_array_equal(scaled[name], 4 * plain[name])
    converted = convert_network(scaled, network, "mmaction2", use_scale=True)
    np.testing.assert_array_equal(
        converted.weights["res4.3.non_local.theta.weight"],
        weights["res4.3.non_local.theta.weight"],
    )


@pytest.mark.parametrize("origin", NETWORKS)
@pytest.mark.parametrize("depth", [50, 101])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_there_and_back(origin, depth, batch_norm):
    block = BEFORE if origin != "mmaction2" else {"subsample": (1, 2, 2), "bias": True}
    block = {**block, "pairwise": "dot_product", "batch_norm": batch_norm}
    network = small(depth=depth, non_local=placement(depth, 5), block=block)
    weights = weights_of(network)
    if origin == "mmaction2" and batch_norm:
        weights = {n: v * (".out.bias" not in n) for n, v in weights.items()}
    state = export_network(network, weights, origin)
    converted = convert_network(state, network, origin)
    assert converted.weights.keys() == weights.keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(converted.weights[name], value, strict=True)


def test_biases_that_the_blocks_have_not_are_zero_there():
    network = small(block={"pairwise": "dot_product", "subsample_at": "input"})
    weights = weights_of(network)
    state = export_network(network, weights, "slowfast")
    assert not state["s3.pathway0_nonlocal1.conv_out.bias"].any()
    with pytest.raises(ValueError, match=r"left over: \['s3.pathway0_nonlocal1.conv_g.bias', "):
        convert_network(state, network, "slowfast")
    assert "nonlocal_conv3_1_out_b" not in export_network(network, weights, "caffe2")


def test_an_fc_of_other_classes():
    network = small()
    state = export_network(network, weights_of(network), "slowfast")
    other = replace(network, classes=7)
    with pytest.raises(ValueError, match=r"'head.projection.weight' must have shape \(7, 64\)"):
        convert_network(state, other, "slowfast")
    converted = convert_network(state, other, "slowfast", partial=True)
    assert converted.missing == ("fc.weight", "fc.bias")
    assert converted.left_over == ("head.projection.bias", "head.projection.weight")


def test_another_network():
    state = listed("slowfast")
    with pytest.raises(ValueError, match=r"'s1.pathway0_stem.conv.weight' must have shape \(64, 3"):
        convert_network(state, PUBLISHED["C2D_NLN_8x8_R50"].spec, "slowfast")
    deeper = PUBLISHED["I3D_NLN_8x8_R101"].spec
    with pytest.raises(ValueError, match=r"missing: \['res4.6.conv1.weight', .*left over: \[\]"):
        convert_network(state, deeper, "slowfast")
    converted = convert_network(state, deeper, "slowfast", partial=True)
    assert len(converted.weights) == len(converted.names) == 327
    assert len(converted.missing) == 17 * 15
    elsewhere = replace(PUBLISHED["I3D_NLN_8x8_R50"].spec, non_local=("res3.1",))
    with pytest.raises(ValueError, match=r"missing: \[\]; left over: \['s3.pathway0_nonlocal3.bn"):
        convert_network(state, elsewhere, "slowfast")
    with pytest.raises(ValueError, match=r"origin must be one of \('mmaction2', .*'torchvision'"):
        convert_network(state, deeper, "torchvision")


@pytest.mark.parametrize(
    ("origin", "block", "field"),
    [
        ("slowfast", {"pairwise": "concatenation", "bias": True}, "pairwise='concatenation'"),
        ("slowfast", {"subsample": (1, 2, 2), "bias": True}, "subsample_at='embedding'"),
        ("caffe2", {"pairwise": "gaussian"}, "pairwise='gaussian'"),
        ("caffe2", {**BEFORE, "normalization": "count"}, "normalization='count'"),
        ("mmaction2", BEFORE, "subsample_at='input'"),
        ("mmaction2", {"pairwise": "gaussian", "scale": 0.5}, "scale=0.5"),
        ("mmaction2", {"extent": "time", "subsample": None}, "extent='time'"),
    ],
)
def test_blocks_that_the_origin_cannot_hold(origin, block, field):
    network = small(block=block)
    expected = f"{NETWORKS[origin].block} does not support {field}: in its block, "
    with pytest.raises(ValueError, match=expected):
        export_network(network, weights_of(network), origin)
    with pytest.raises(ValueError, match=expected):
        convert_network({}, network, origin)


def test_what_else_cannot_go_back():
    network = small(inflation="3x3x3")
    for origin in ("slowfast", "caffe2"):
        with pytest.raises(ValueError, match=f"{origin} does not support inflation='3x3x3'"):
            export_network(network, weights_of(network), origin)
    network = small()
    with pytest.raises(ValueError, match="affine must be False for slowfast"):
        export_network(network, weights_of(network), "slowfast", affine=True)
    with pytest.raises(ValueError, match=r"'fc.bias' is missing"):
        weights = weights_of(network)
        del weights["fc.bias"]
        export_network(network, weights, "slowfast")
    network = small(block={**BEFORE, "scale": 0.0})
    with pytest.raises(ValueError, match=r"scale other than 0; received scale=0.0"):
        export_network(network, weights_of(network), "slowfast")


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_network_is_its_origins(name):
    origin, network = PUBLISHED[name]
    assert differences(network, origin) == ()
    shapes = network_weight_shapes(network)
    weights = {n: np.broadcast_to(np.float32(0), shape) for n, shape in shapes.items()}
    state = export_network(network, weights, origin)
    converted = convert_network(state, network, origin)
    assert converted.missing == converted.left_over == ()
    assert list(converted.notes) == []
    embedded = 0 if name == GAUSSIAN else 4 * len(network.non_local)
    assert len([n for n in state if "theta" in n or "phi" in n]) == embedded


#: Differences of networks from other origins, by the starts of the sentences.
DIFFERENT = {
    ("caffe2", "I3D_NLN_8x8_R50"): ["pool1 has kernel (1, 3, 3)"],
    ("pytorchvideo", "I3D_NLN_8x8_R50"): [],
    ("mmaction2", "I3D_NLN_8x8_R50"): ["head is 'mean'; in this network it is 'windows'"],
    ("pytorchvideo", "i3d_nonlocal_32x2"): ["pool1 has kernel (2, 3, 3)"],
    ("slowfast", "i3d_r50"): ["head is 'windows'; in this network it is 'window_logits'"],
    ("slowfast", "i3d_nonlocal_32x2"): ["conv1 has temporal stride 1", "pool1 has kernel (1, 3"],
    ("slowfast", DOT): ["conv1 has temporal stride 1", "pool1 has", "head is 'windows'"],
}


@pytest.mark.parametrize(("origin", "name"), DIFFERENT)
def test_differences(origin, name):
    found = differences(PUBLISHED[name].spec, origin)
    expected = DIFFERENT[origin, name]
    assert len(found) == len(expected), found
    for sentence, start in zip(found, expected, strict=True):
        assert sentence.startswith(f"in {origin}, {start}")


def test_differences_of_the_papers_network_and_of_strides():
    paper = NetworkSpec(50, "3x1x1")
    pools = [found.split()[2] for found in differences(paper, "caffe2")]
    assert pools == ["pool1", "pool2", "head"]
    network = LISTED["slowfast"]
    first = replace(network, stride_at="1x1")
    assert differences(first, "slowfast") == ()
    assert differences(first, "caffe2")[1].startswith("in caffe2, stride_at is '3x3'")
    network = replace(LISTED["caffe2"], head_window=9)
    (found,) = differences(network, "caffe2")
    assert found == "in caffe2, head_window is 7; in this network it is 9"


def test_kernels_that_the_origin_cannot_hold():
    network = small(inflated=SLOW_ONLY)
    with pytest.raises(
        ValueError, match=r"slowfast does not support these temporal kernels: .*'conv1_f"
    ):
        export_network(network, weights_of(network), "slowfast")
    network = replace(network, conv1_frames=1)
    export_network(network, weights_of(network), "slowfast")
    with pytest.raises(ValueError, match="caffe2 does not support these temporal kernels"):
        export_network(network, weights_of(network), "caffe2")
    patterns = replace(network, inflated=((0,) * 3, (0,) * 4, (1,) * 6, (1,) * 3))
    export_network(patterns, weights_of(patterns), "slowfast")  # the same blocks
    network = small(depth=152, non_local=())
    with pytest.raises(
        ValueError, match=r"does not support depth=152: it must be one of \(50, 101\)"
    ):
        export_network(network, weights_of(network), "caffe2")


@pytest.mark.parametrize(
    "name",
    [
        "s1.pathway1_stem.conv.weight",
        "s1_fuse.conv_f2s.weight",
        "t_conv1_w",
        "t_res2_0_branch2a_w",
        "blocks.0.multipathway_blocks.0.conv.weight",
        "backbone.fast_path.conv1.conv.weight",
    ],
)
def test_two_pathways_are_refused(name):
    state = listed("slowfast") | {name: np.ones(1)}
    with pytest.raises(ValueError, match=f"one pathway, .* such as SlowFast, with .*'{name}'"):
        convert_network(state, LISTED["slowfast"], "slowfast", partial=True)


def test_mmaction2s_c2d_has_2d_convolutions():
    network = PUBLISHED["c2d_r50-in1k-pre_8xb32-8x8x1-100e_kinetics400-rgb"].spec
    network = replace(network, width=2, classes=3)
    weights = weights_of(network)
    state = export_network(network, weights, "mmaction2")
    flat = {n: v[:, :, 0] if v.ndim == 5 else v for n, v in state.items()}
    assert flat["backbone.conv1.conv.weight"].shape == (2, 3, 7, 7)
    converted = convert_network(flat, network, "mmaction2")
    assert converted.notes == ()
    for name, value in weights.items():
        np.testing.assert_array_equal(converted.weights[name], value, strict=True)
    inflated = replace(network, inflation="3x1x1", conv1_frames=1)
    with pytest.raises(ValueError, match=r"conv1.conv.weight' must have shape \(2, 2, 3, 1, 1\)"):
        convert_network(flat, inflated, "mmaction2")


def test_the_scale_of_a_network_of_the_origins_dialect_is_that_of_the_file():
    network = small(dialect="mmcv", block={"batch_norm": True, "subsample": (1, 2, 2)})
    weights = weights_of(network)
    weights = {n: v * (".out.bias" not in n) for n, v in weights.items()}
    name = "backbone.layer3.3.non_local_block.theta.conv.weight"
    state = export_network(network, weights, "mmaction2")
    own = weights["res4.3.non_local.theta.weight"]
    np.testing.assert_array_equal(state[name].reshape(16, 32), own)
    plain = export_network(network, weights, "mmaction2", use_scale=False)
    np.testing.assert_array_equal(plain[name].reshape(16, 32), own / 4)
