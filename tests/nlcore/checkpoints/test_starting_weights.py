"""What a training starts from, and what may be missing."""

import numpy as np
import pytest

from nlcore.checkpoints import export_network
from nlcore.checkpoints.starting_weights import complete_weights, read_source, starting_weights
from nlcore.video import NetworkSpec, network_weight_shapes, recipe
from nlcore.video.initial_weights import initial_network_weights

SMALL = {"width": 2, "classes": 5, "non_local": ["res3.1"]}


def recipe_of(initial, **fields):
    other = None if initial in ("random", "imagenet") else "paper"
    network = {**SMALL, **fields.pop("network", {})}
    return recipe("paper", initial=initial, initial_recipe=other, network=network, **fields)


def weights_of(seed=9, **fields):
    spec = NetworkSpec(inflation="3x1x1", **{**SMALL, **fields})
    return initial_network_weights(spec, seed)


def test_random():
    known = recipe_of("random", block_init="normal", zero_residual=False)
    weights, report = starting_weights(known, 3)
    right = initial_network_weights(known.network, 3, "normal", True, False)
    assert all(np.array_equal(weights[n], right[n]) for n in right)
    assert report == "random initial weights of seed 3"
    with pytest.raises(ValueError, match="starts from random weights; received others"):
        starting_weights(known, 3, weights)


def flat_weights(classes=1000):
    """A 2-D ResNet's weights by torchvision's names."""
    spec = NetworkSpec(width=2, classes=classes)
    found = {}
    for name, value in initial_network_weights(spec, 4).items():
        parts = name.split(".")
        if parts[0].startswith("res"):
            parts[0] = f"layer{int(parts[0][3:]) - 1}"
        name = ".".join(parts).replace("shortcut_bn", "downsample.1")
        found[name.replace("shortcut", "downsample.0")] = (
            value[:, :, 0] if value.ndim == 5 else value
        )
    return found


def test_imagenet():
    flat = flat_weights()
    weights, report = starting_weights(recipe_of("imagenet"), 3, flat)
    assert np.array_equal(weights["conv1.weight"][:, :, 0], flat["conv1.weight"] / np.float32(5))
    random = initial_network_weights(recipe_of("imagenet").network, 3, zero_residual=True)
    assert np.array_equal(weights["fc.weight"], random["fc.weight"])
    assert np.array_equal(weights["res3.1.non_local.g.weight"], random["res3.1.non_local.g.weight"])
    assert weights["res2.0.bn3.weight"].all()  # loaded, so not zero
    assert (
        "\nmissing: res3.1.non_local.theta.weight" in report
        and "left over: fc.bias, fc.weight" in report
    )
    del flat["layer1.0.conv1.weight"]
    with pytest.raises(ValueError, match=r"missing: 1, such as \['res2.0.conv1.weight'\]"):
        starting_weights(recipe_of("imagenet"), 3, flat)


def test_the_same_network():
    source = weights_of()
    weights, report = starting_weights(recipe_of("network"), 3, source)
    assert all(np.array_equal(weights[n], source[n]) for n in source)
    assert report.startswith(f"{len(source)} of {len(source)} weights imported")
    other = weights_of(classes=7)
    weights, report = starting_weights(recipe_of("network"), 3, other)
    assert weights["fc.weight"].shape == (5, 64) and "missing, not changed: fc (2)" in report
    message = "weights except those of fc; missing: 8.* Set the network's depth"
    with pytest.raises(ValueError, match=message):
        starting_weights(recipe_of("network"), 3, weights_of(non_local=()))


def test_the_baseline():
    source = weights_of(non_local=())
    weights, report = starting_weights(recipe_of("baseline"), 3, source)
    assert all(np.array_equal(weights[n], source[n]) for n in source)
    assert not weights["res3.1.non_local.bn.weight"].any()
    assert "missing, not changed: res3.1.non_local (8)" in report


def test_published_names():
    known = recipe_of("network", network={"block": {"bias": True}})
    own = weights_of(block={"bias": True})
    own["res3.1.non_local.g.bias"] += 1
    source = export_network(known.network, own, "mmaction2")
    weights, report = starting_weights(known, 3, source, "mmaction2")
    whole = complete_weights(known.network, source, "mmaction2")
    assert all(np.array_equal(value, weights[n]) for n, value in own.items())
    assert all(np.array_equal(value, whole[n]) for n, value in own.items())
    assert f"{len(weights)} weights of NetworkSpec" in report  # one of them, out.bias, is 0 there
    with pytest.raises(ValueError, match=r"not used: 3, such as \['backbone.layer2.1.non_local"):
        starting_weights(recipe_of("network"), 3, source, "mmaction2")
    del source["cls_head.fc_cls.bias"]
    with pytest.raises(ValueError, match=r"missing: \['fc\.bias'\]"):
        complete_weights(known.network, source, "mmaction2")
    with pytest.raises(ValueError, match=r"'fc\.bias' is missing"):
        complete_weights(known.network, {n: v for n, v in whole.items() if n != "fc.bias"})


@pytest.mark.parametrize("initial", ["imagenet", "network", "baseline"])
def test_errors(initial):
    with pytest.raises(ValueError, match=f"starts from '{initial}' weights.*; received none"):
        starting_weights(recipe_of(initial), 3)
    with pytest.raises(ValueError, match=r"naming must be one of .*; received 'tf'"):
        starting_weights(recipe_of(initial), 3, weights_of(), "tf")
    with pytest.raises(ValueError, match="naming must be 'nlcore' or one of"):
        complete_weights(recipe_of(initial).network, weights_of(), "tf")


def test_sources(tmp_path):
    save = pytest.importorskip("safetensors.numpy").save_file
    save(weights_of(), tmp_path / "w.safetensors")
    found = read_source(tmp_path / "w.safetensors")
    assert set(found) == set(network_weight_shapes(recipe_of("network").network))
    with pytest.raises(ValueError, match="must be a run or a checkpoint"):
        read_source(tmp_path)
