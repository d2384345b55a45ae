"""Weights in files: what they are wrapped in, and files that hold something else or are damaged."""

import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from nlcore.checkpoints.files import arrays_of, read_arrays, state_of

WEIGHTS = {"conv1_w": np.arange(6, dtype=np.float32).reshape(2, 3), "pred_b": np.ones(2)}


@pytest.fixture
def pickled(tmp_path):
    def write(content):
        path = tmp_path / "weights.pkl"
        path.write_bytes(pickle.dumps(content))
        return path

    return write


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert isinstance(found[name], np.ndarray)
        np.testing.assert_array_equal(found[name], value, strict=True)


@pytest.mark.parametrize("container", [None, "blobs", "model_state", "net", "params", "own"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.module."])
def test_containers(pickled, container, prefix):
    state = {prefix + name: value for name, value in WEIGHTS.items()}
    same(read_arrays(pickled({container: state, "epoch": 3} if container else state)), WEIGHTS)


def test_a_prefix_that_not_every_name_has_is_kept(pickled):
    state = {"module.a": np.ones(1), "b": np.ones(1)}
    same(read_arrays(pickled(state)), state)


def test_numbers_are_arrays_without_axes(pickled):
    found = read_arrays(pickled(WEIGHTS | {"model_iter": 400000, "lr": 0.01}))
    same(found, WEIGHTS | {"model_iter": np.asarray(400000), "lr": np.asarray(0.01)})


@pytest.mark.parametrize(
    ("content", "came"),
    [
        ({}, "received dict of 0"),
        ([np.ones(2)], "received list of 1"),
        ({"blobs": {}}, "received dict of 0"),
        ({3: np.ones(2)}, "received dict of 1"),
        ({"log": {"a": "text"}, "epoch": 1}, r"received 1 other value\(s\), 'log': dict of 1"),
        (WEIGHTS | {"cfg": "text"}, r"received 1 other value\(s\), 'cfg': str"),
    ],
)
def test_what_holds_no_weights(pickled, content, came):
    expected = "weights.pkl: expected arrays by name, or an entry such as"
    with pytest.raises(ValueError, match=f"{expected}.*'model'.*; {came}"):
        read_arrays(pickled(content))


def test_the_first_known_entry_is_chosen_at_every_depth(pickled):
    other = {name: value + 1 for name, value in WEIGHTS.items()}
    content = {"ema": other, "train": {"model": WEIGHTS, "optimizer": {"lr": 0.1}}}
    same(read_arrays(pickled(content)), other)
    same(read_arrays(pickled(content), "train"), WEIGHTS)
    content["state_dict"] = WEIGHTS
    same(read_arrays(pickled(content)), WEIGHTS)
    same(read_arrays(pickled(content), "ema"), other)
    with pytest.raises(ValueError, match=r"weights.pkl: expected an entry 'net'; received \['ema'"):
        read_arrays(pickled(content), "net")
    with pytest.raises(ValueError, match=r"one entry with weights; received \['g', 'd'\]"):
        read_arrays(pickled({"g": WEIGHTS, "d": WEIGHTS}))


def test_states_and_arrays_are_checked_apart():
    state = {"module.a": object()}
    assert state_of({"model": state, "epoch": 1}, "x").keys() == {"a"}
    with pytest.raises(ValueError, match=r"x: expected arrays by name.*'a': object"):
        arrays_of(state_of(state, "x"), "x")


def test_unknown_files(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.ones(1))
    with pytest.raises(ValueError, match=r"w.npz: expected a file of weights: .* of \['a.npy'\]"):
        read_arrays(tmp_path / "w.npz")
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as file:  # as torch.save writes it
        file.writestr("w/data.pkl", b"")
    with pytest.raises(ValueError, match=r"torch.save, which nlcore_torch.convert.read_weights"):
        read_arrays(tmp_path / "w.pth")
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "w.pkl")


def test_safetensors(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    ml_dtypes = pytest.importorskip("ml_dtypes")
    path = tmp_path / "w.safetensors"
    with pytest.raises(FileNotFoundError):
        read_arrays(path)
    half = WEIGHTS | {"half": np.array([1.5, -2], ml_dtypes.bfloat16)}
    safetensors.save_file({"module." + name: value for name, value in half.items()}, path)
    same(read_arrays(path), half)
    whole = path.read_bytes()
    for length in (0, 4, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"w.safetensors: expected a .*\.safetensors file"):
            read_arrays(path)


def test_no_framework_is_needed():
    script = (
        "import sys, nlcore.checkpoints\n"
        "print({'torch', 'tensorflow', 'keras', 'jax', 'safetensors'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout.strip() == "set()", result.stderr
