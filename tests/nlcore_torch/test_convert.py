"""Other projects' blocks and networks in PyTorch: converted, they compute the same numbers.

The same means: both within the bound that is derived for any honest implementation of the spec.
Packages that are not installed are skipped.
"""

import os
import pickle
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nlcore
from nlcore import NonLocalSpec, weight_shapes
from nlcore.spec import PAIRWISE
from nlcore.video import NetworkSpec, network_weight_shapes, placement
from nlcore_conformance.bounds.block_bounds import block_bounds
from nlcore_torch import NonLocalBlock
from nlcore_torch.arrays import array
from nlcore_torch.convert import (
    convert_block,
    convert_network,
    export_block,
    export_network,
    read_weights,
)
from nlcore_torch.video.network import Network

POSITIONS = {1: (9,), 2: (6, 7), 3: (3, 6, 5)}


def randomized(module, seed=0):
    """The module in evaluation mode, where no parameter and no statistic is trivial."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5, generator=generator)
        else:
            fan_in = value[0].numel() if value.ndim > 1 else 4
            value.normal_(0, fan_in**-0.5, generator=generator)
    module.train(False)
    return module


def clips(channels, positions, seed=1):
    return torch.randn(2, channels, *positions, generator=torch.Generator().manual_seed(seed))


def ratio(z, spec, weights, x):
    """Error / bound of z, float32, at its worst element."""
    weights = {name: np.asarray(value) for name, value in weights.items()}
    right = nlcore.block(spec, weights, x.numpy())
    bound = block_bounds(spec, weights, x.numpy(), dtype="float32")["z"]
    assert np.isfinite(bound).all()
    return float((np.abs(array(z) - right) / bound).max())


@torch.no_grad()
def check_same(module, converted, channels):
    """Theirs and ours within the bound of what was read, and theirs again from what goes back."""
    x = clips(channels, POSITIONS[converted.spec.ndim])
    ours = NonLocalBlock.from_spec(converted.spec).eval()
    ours.import_weights(converted.weights)
    theirs = module(x)
    assert ratio(theirs, converted.spec, converted.weights, x) <= 1
    assert ratio(ours(x), converted.spec, converted.weights, x) <= 1
    return x, theirs


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize("sub_sample", [True, False])
@pytest.mark.parametrize("mode", [*PAIRWISE, "embedded_gaussian, no scale"])
def test_mmcv(mode, sub_sample, normed, ndim):
    bricks = pytest.importorskip("mmcv.cnn.bricks.non_local")
    mode, _, no_scale = mode.partition(", ")
    arguments = {
        "mode": mode,
        "sub_sample": sub_sample,
        "use_scale": not no_scale,
        "norm_cfg": {"type": f"BN{ndim}d"} if normed else None,
    }
    build = getattr(bricks, f"NonLocal{ndim}d")
    module = randomized(build(16, **arguments))
    said = {"pairwise": mode, "use_scale": not no_scale}
    converted = convert_block(module.state_dict(), "mmcv", **said)
    assert converted.spec == nlcore.dialect(
        "mmcv",
        16,
        mode,
        ndim=ndim,
        batch_norm=normed,
        subsample={1: (2,), 2: (2, 2), 3: (1, 2, 2)}[ndim] if sub_sample else None,
        scale=8**-0.5 if mode == "embedded_gaussian" and not no_scale else 1.0,
    )
    x, theirs = check_same(module, converted, 16)
    if mode == "embedded_gaussian":  # the bound tells the two scales apart
        said["use_scale"] = bool(no_scale)
        other = convert_block(module.state_dict(), "mmcv", **said)
        assert ratio(theirs, other.spec, other.weights, x) > 1
    fresh = build(16, **arguments)
    fresh.load_state_dict(export_block(converted.spec, converted.weights, "mmcv"))
    fresh.eval()
    with torch.no_grad():  # not bit for bit: a product may round otherwise elsewhere in memory
        assert ratio(fresh(x), converted.spec, converted.weights, x) <= 1


@pytest.mark.parametrize("pairwise", ["embedded_gaussian", "dot_product"])
@pytest.mark.parametrize("subsample", [(1, 2, 2), None])
@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize("package", ["slowfast", "pytorchvideo"])
def test_slowfast_and_pytorchvideo(package, normed, subsample, pairwise):
    instantiation = {"embedded_gaussian": "softmax"}.get(pairwise, pairwise)
    if package == "slowfast":
        helper = pytest.importorskip("slowfast.models.nonlocal_helper", exc_type=ImportError)

        def build():
            norm = {} if normed else {"norm_type": "none"}
            return helper.Nonlocal(16, 8, subsample, instantiation, **norm)
    else:
        layers = pytest.importorskip("pytorchvideo.layers.nonlocal_net", exc_type=ImportError)

        def build():
            norm = {} if normed else {"norm": None}
            return layers.create_nonlocal(
                dim_in=16,
                dim_inner=8,
                pool_size=subsample,
                instantiation=instantiation,
                **norm,
            )

    module = randomized(build())
    converted = convert_block(module.state_dict(), package, pairwise, subsample=subsample)
    x, theirs = check_same(module, converted, 16)
    fresh = build()
    fresh.load_state_dict(export_block(converted.spec, converted.weights, package))
    with torch.no_grad():
        assert torch.equal(fresh.eval()(x), theirs)


@pytest.mark.parametrize("use_scale", [True, False])
def test_timm(use_scale):
    layers = pytest.importorskip("timm.layers", exc_type=ImportError)
    module = randomized(layers.NonLocalAttn(32, use_scale=use_scale))
    converted = convert_block(module.state_dict(), "timm", use_scale=use_scale)
    assert converted.spec.inner_channels == 8
    x, theirs = check_same(module, converted, 32)
    fresh = layers.NonLocalAttn(32, use_scale=use_scale)
    fresh.load_state_dict(export_block(converted.spec, converted.weights, "timm"))
    with torch.no_grad():
        assert torch.equal(fresh.eval()(x), theirs)


@pytest.mark.parametrize("pairwise", ["embedded_gaussian", "dot_product"])
def test_c2s_affine_block_and_back(pairwise):
    """A scale and a shift, written out, against batch normalization that was made of them."""
    rng = np.random.default_rng(0)
    shapes = {f"{part}_w": (8, 16, 1, 1, 1) for part in ("theta", "phi", "g")}
    shapes |= {f"{part}_b": (8,) for part in ("theta", "phi", "g")}
    shapes |= {"out_w": (16, 8, 1, 1, 1), "out_b": (16,), "bn_s": (16,), "bn_b": (16,)}
    state = {n: rng.normal(0, 0.3, shape).astype(np.float32) for n, shape in shapes.items()}
    converted = convert_block(state, "caffe2", pairwise)
    x = clips(16, POSITIONS[3])
    ours = NonLocalBlock.from_spec(converted.spec).eval()
    ours.import_weights(converted.weights)
    with torch.no_grad():
        z = ours(x)
        assert ratio(z, converted.spec, converted.weights, x) <= 1
        plain = NonLocalSpec(**{**converted.spec.arguments(), "batch_norm": False})
        slope = state["bn_s"].astype(np.float64)
        folded = {n: v for n, v in converted.weights.items() if not n.startswith("bn.")}
        folded["out.weight"] = folded["out.weight"] * slope[:, None]
        folded["out.bias"] = folded["out.bias"] * slope + state["bn_b"]
        right = nlcore.block(plain, folded, x.numpy())
    bound = block_bounds(converted.spec, converted.weights, x.numpy(), dtype="float32")["z"]
    assert (np.abs(array(z) - right) <= bound).all()
    back = export_block(converted.spec, converted.weights, "caffe2", affine=True)
    assert back.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(array(back[name]), value)


@pytest.mark.parametrize("seed", range(3))
def test_batch_normalization_as_a_scale_and_a_shift(seed):
    spec = nlcore.dialect("caffe2", 16, "dot_product")
    block = randomized(NonLocalBlock.from_spec(spec), seed)
    state = export_block(spec, block.state_dict(), "caffe2", affine=True)
    converted = convert_block(state, "caffe2", "dot_product")
    other = NonLocalBlock.from_spec(converted.spec).eval()
    other.import_weights(converted.weights)
    x = clips(16, POSITIONS[3], seed)
    with torch.no_grad():
        assert ratio(other(x), spec, block.export_weights(), x) <= 1


def small(**block):
    fields = {"subsample": (1, 2, 2), "subsample_at": "input", "bias": True, **block}
    return NetworkSpec(
        50,
        "3x1x1",
        placement(50, 5),
        fields,
        classes=5,
        temporal_strides=(1, 1, 2),
        width=8,
    )


def slowfast_network(spec, instantiation):
    """SlowFast's ResNet of this spec but for its head, as its `_construct_network` builds it."""
    resnet = pytest.importorskip("slowfast.models.resnet_helper", exc_type=ImportError)
    stem = pytest.importorskip("slowfast.models.stem_helper", exc_type=ImportError)
    net = nn.Module()
    width = spec.width
    net.s1 = stem.VideoModelStem(
        dim_in=[3], dim_out=[width], kernel=[[5, 7, 7]], stride=[[1, 2, 2]], padding=[[2, 3, 3]]
    )
    inputs = width
    kernels = {2: [[3]], 3: [[3, 1]], 4: [[3, 1]], 5: [[1, 3]]}
    for number, stage in enumerate(spec.stages, 2):
        inner = width * 2 ** (number - 2)
        places = [int(r.name.split(".")[1]) for r in stage if r.non_local]
        added = resnet.ResStage(
            dim_in=[inputs],
            dim_out=[4 * inner],
            dim_inner=[inner],
            temp_kernel_sizes=kernels[number],
            stride=[1 if number == 2 else 2],
            num_blocks=[len(stage)],
            num_groups=[1],
            num_block_temp_kernel=[len(stage)],
            nonlocal_inds=[places],
            nonlocal_group=[1],
            nonlocal_pool=[[1, 2, 2]],
            dilation=[1],
            instantiation=instantiation,
        )
        net.add_module(f"s{number}", added)
        inputs = 4 * inner
    net.pathway0_pool = nn.MaxPool3d((2, 1, 1), (2, 1, 1))
    net.head = nn.Module()
    net.head.projection = nn.Linear(inputs, spec.classes)
    return net


@torch.no_grad()
@pytest.mark.parametrize("pairwise", ["embedded_gaussian", "dot_product"])
def test_slowfasts_network_layer_by_layer(pairwise):
    spec = small(pairwise=pairwise)
    instantiation = {"embedded_gaussian": "softmax"}.get(pairwise, pairwise)
    theirs = randomized(slowfast_network(spec, instantiation))
    state = theirs.state_dict()
    converted = convert_network(state, spec, "slowfast")
    ours = Network(spec).eval()
    ours.import_weights(converted.weights)
    x = torch.randn(1, 3, 4, 48, 48, generator=torch.Generator().manual_seed(2))
    (y,) = theirs.s1([x])
    assert torch.equal(ours.pool1(F.relu(ours.bn1(ours.conv1(x)))), y)
    judged = 0
    for number in (2, 3, 4, 5):
        stage = getattr(theirs, f"s{number}")
        for index, block in enumerate(getattr(ours, f"res{number}")):
            non_local, block.non_local = block.non_local, None
            after = getattr(stage, f"pathway0_res{index}")(y.clone())
            assert torch.equal(block(y), after)  # the same operations in the same order
            if non_local is not None:
                prefix = f"s{number}.pathway0_nonlocal{index}."
                read = convert_block(
                    state, "slowfast", pairwise, prefix=prefix, subsample=(1, 2, 2)
                )
                there = getattr(stage, f"pathway0_nonlocal{index}")(after)
                assert ratio(there, read.spec, read.weights, after) <= 1
                assert ratio(non_local(after), read.spec, read.weights, after) <= 1
                after, judged = there, judged + 1
            y = after / after.std()  # the dot product's blocks make it grow
        y = theirs.pathway0_pool(y) if number == 2 else y
    assert judged == 5
    assert torch.equal(ours.fc(y.mean((2, 3, 4))), theirs.head.projection(y.mean((2, 3, 4))))
    back = export_network(spec, converted.weights, "slowfast")
    assert back.keys() == {n for n in state if not n.endswith("num_batches_tracked")}
    theirs.load_state_dict(back, strict=False)


def test_slowfasts_own_loader_takes_c2s_names_for_the_same_weights():
    loader = pytest.importorskip("slowfast.utils.c2_model_loading", exc_type=ImportError)
    rename = loader.get_name_convert_func()
    for depth in (50, 101):
        spec = NetworkSpec(depth, "3x1x1", placement(depth, 5), small().block, width=2)
        weights = {name: np.zeros(shape) for name, shape in network_weight_shapes(spec).items()}
        for number, value in enumerate(weights.values()):
            value[...] = number
        of_c2 = export_network(spec, weights, "caffe2")
        of_slowfast = export_network(spec, weights, "slowfast")
        assert {rename(name) for name in of_c2} == set(of_slowfast)
        for name, value in of_c2.items():
            assert torch.equal(value, of_slowfast[rename(name)]), name


@torch.no_grad()
@pytest.mark.parametrize("origin", ["slowfast", "caffe2", "mmaction2"])
def test_theta_with_the_scale_computes_what_the_scale_does(origin):
    mmcv = {"subsample_at": "embedding", "bias": "embeddings"}
    spec = small(**mmcv if origin == "mmaction2" else {"subsample_at": "input"})
    network = randomized(Network(spec))
    state = export_network(spec, network.state_dict(), origin, use_scale=True)
    converted = convert_network(state, spec, origin, use_scale=True)
    network.import_weights(converted.weights)
    for stage, index in ((3, 1), (4, 3)):
        block = network.get_submodule(f"res{stage}.{index}.non_local")
        theirs, prefix = {
            "slowfast": ("slowfast", f"s{stage}.pathway0_nonlocal{index}."),
            "caffe2": ("caffe2", f"nonlocal_conv{stage}_{index}_"),
            "mmaction2": ("mmcv", f"backbone.layer{stage - 1}.{index}.non_local_block."),
        }[origin]
        read = convert_block(
            state,
            theirs,
            "embedded_gaussian",
            use_scale=None if origin == "slowfast" else True,
            prefix=prefix,
            subsample=(1, 2, 2),
        )
        assert read.spec.scale == block.spec.inner_channels**-0.5 != block.spec.scale
        x = clips(block.spec.channels, POSITIONS[3])
        assert ratio(block(x), read.spec, read.weights, x) <= 1
        assert ratio(block(x), block.spec, read.weights, x) > 1


FILES = {
    "slowfast.pyth": lambda state: {"epoch": 3, "model_state": state, "cfg": "TRAIN:"},
    "mmaction2.pth": lambda state: {"meta": {"epoch": 3}, "state_dict": state},
    "plain.pt": lambda state: state,
    "parallel.pth": lambda state: {"module." + name: value for name, value in state.items()},
    "c2.pkl": lambda state: {"blobs": {name: array(value) for name, value in state.items()}},
    "lightning.ckpt": lambda state: {
        "state_dict": {"model." + name: value for name, value in state.items()},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(1)}}, "param_groups": []}],
    },
    "compiled.pth.tar": lambda state: {
        "net": {"_orig_mod.module." + name: value for name, value in state.items()},
        "model_ema": {name: torch.zeros_like(value) for name, value in state.items()},
        "scaler": {"scale": 65536.0},
    },
    "own.bin": lambda state: {"checkpoint": {"backbone_and_head": state}, "epoch": 3},
}


def save(content, path):
    """Write it as its own project does."""
    if path.suffix == ".pkl":  # C2's
        path.write_bytes(pickle.dumps(content, 2))
    else:
        torch.save(content, path)


@torch.no_grad()
@pytest.mark.parametrize("name", FILES)
def test_a_network_from_a_file(tmp_path, name):
    spec = NetworkSpec(
        non_local=("res3.1",), block=small(pairwise="dot_product").block, classes=5, width=2
    )
    network = randomized(Network(spec))
    origin = "caffe2" if name == "c2.pkl" else "slowfast"
    save(FILES[name](export_network(spec, network.state_dict(), origin)), tmp_path / name)
    converted = convert_network(tmp_path / name, spec, origin)
    other = Network(spec).eval()
    other.import_weights(converted.weights)
    x = clips(3, (4, 32, 32))
    assert torch.equal(other(x), network(x))
    block = convert_block(
        str(tmp_path / name),
        origin,
        "dot_product",
        prefix="nonlocal_conv3_1_" if origin == "caffe2" else "s3.pathway0_nonlocal1.",
        subsample=(1, 2, 2),
    )
    for part, value in block.weights.items():
        assert torch.equal(network.state_dict()[f"res3.1.non_local.{part}"], torch.tensor(value))


def test_tensors_of_other_dtypes(tmp_path):
    pytest.importorskip("safetensors")
    from safetensors.torch import save_file

    state = {
        "a": torch.randn(3).bfloat16(),
        "b": torch.randn(2).double(),
        "c": torch.ones(1).half(),
    }
    state["d"] = nn.Parameter(torch.randn(2))
    torch.save(state, tmp_path / "w.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "w.safetensors")
    for name in ("w.pth", "old.pth", "w.safetensors"):
        found = read_weights(tmp_path / name)
        assert found.keys() == state.keys()
        for part, value in state.items():
            expected = array(value)
            assert found[part].dtype == expected.dtype
            np.testing.assert_array_equal(found[part], expected)


def test_half_precision_goes_through():
    spec = nlcore.dialect("caffe2", 16, "embedded_gaussian")
    block = randomized(NonLocalBlock.from_spec(spec, dtype=torch.bfloat16))
    state = export_block(spec, block.state_dict(), "slowfast")
    assert {value.dtype for value in state.values()} == {torch.bfloat16}
    converted = convert_block(state, "slowfast", "embedded_gaussian", subsample=(1, 2, 2))
    other = NonLocalBlock.from_spec(converted.spec, dtype=torch.bfloat16)
    other.import_weights(converted.weights)
    for name, value in block.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)


class Call:
    """Unpickles as a call of os.system."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("name", ["w.pth", "w.pyth", "w.pt", "w.pkl", "old.pth"])
@pytest.mark.parametrize("where", ["weight", "beside", "top"])
def test_a_file_that_would_run_something_is_refused(tmp_path, name, where):
    marker, path = tmp_path / "marker", tmp_path / name
    call = Call(f"{sys.executable} -c \"open(r'{marker}', 'w')\"")
    state = {"conv1_w": np.ones(2, np.float32) if name == "w.pkl" else torch.ones(2)}
    content = {
        "weight": {"state_dict": {**state, "other": call}},
        "beside": {"state_dict": state, "hook": call},
        "top": call,
    }[where]
    if name == "old.pth":
        torch.save(content, path, _use_new_zipfile_serialization=False)
    else:
        save(content, path)
    with pytest.raises(ValueError) as caught:
        read_weights(path)
    assert name in str(caught.value) and f"{os.system.__module__}.system" in str(caught.value)
    if name != "w.pkl":  # torch's own text advises to load the file all the same
        assert "weights_only" not in str(caught.value)
        assert caught.value.__cause__ is None and caught.value.__suppress_context__
    assert not marker.exists()


def test_a_whole_module_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w.pth: expected tensors .*; it names torch.nn.*Linear"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["w.pth", "old.pth", "w.pkl", "w.safetensors"])
def test_a_truncated_file_is_an_error(tmp_path, name):
    path = tmp_path / name
    state = {"conv1_w": torch.randn(64, 8), "conv1_b": torch.randn(64)}
    if name == "w.safetensors":
        pytest.importorskip("safetensors.torch").save_file(state, path)
    elif name == "old.pth":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    else:
        save({n: array(v) for n, v in state.items()} if name == "w.pkl" else state, path)
    whole = path.read_bytes()
    assert read_weights(path).keys() == state.keys()
    for length in {0, 1, 10, 100, len(whole) // 2, len(whole) - 30, len(whole) - 1}:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=rf"{name}: expected a "):
            read_weights(path)


def test_what_is_no_file_of_weights(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.ones(1))
    with pytest.raises(ValueError, match=r"w.npz: expected a file of weights: .* of \['a.npy'\]"):
        read_weights(tmp_path / "w.npz")
    for name in ("w.pth", "w.pkl", "w.safetensors"):
        with pytest.raises(FileNotFoundError):
            read_weights(tmp_path / name)
    torch.save({"log": {"a": "text"}, "epoch": 1}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w.pth: expected arrays by name.*'log': dict of 1"):
        read_weights(tmp_path / "w.pth")
    (tmp_path / "text.pth").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ValueError, match=r"text.pth: expected a file of .* begins with b'version"):
        read_weights(tmp_path / "text.pth")


def test_an_entry_is_chosen(tmp_path):
    content = {
        name: {"a": torch.full((1,), float(k))} for k, name in enumerate(("model", "x", "y"))
    }
    torch.save(content, tmp_path / "w.pth")
    assert read_weights(tmp_path / "w.pth")["a"] == 0
    assert read_weights(tmp_path / "w.pth", "y")["a"] == 2
    with pytest.raises(ValueError, match=r"expected an entry 'z'; received \['model', 'x', 'y'\]"):
        read_weights(tmp_path / "w.pth", "z")
    del content["model"]
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"one entry with weights; received \['x', 'y'\]"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("ending", [".pth", ".pkl", ".tar", ""])
def test_the_ending_does_not_matter(tmp_path, ending):
    safetensors = pytest.importorskip("safetensors.torch")
    state = {"a": torch.arange(3.0)}
    path = tmp_path / f"weights{ending}"
    for write in (
        lambda: torch.save(state, path),
        lambda: torch.save(state, path, _use_new_zipfile_serialization=False),
        lambda: safetensors.save_file(state, path),
        lambda: path.write_bytes(pickle.dumps({"a": array(state["a"])}, 0)),
        lambda: path.write_bytes(pickle.dumps({"a": array(state["a"])}, 5)),
    ):
        write()
        np.testing.assert_array_equal(read_weights(path)["a"], array(state["a"]))


def test_errors_of_the_conversion_come_through():
    spec = nlcore.dialect("paper", 16, "concatenation")
    weights = {n: torch.zeros(shape) for n, shape in weight_shapes(spec).items()}
    with pytest.raises(ValueError, match="slowfast does not support pairwise='concatenation'"):
        export_block(spec, weights, "slowfast")
    with pytest.raises(ValueError, match="a block of slowfast"):
        convert_block(weights, "slowfast")
