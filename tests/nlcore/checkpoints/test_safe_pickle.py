"""The restricted unpickler: arrays as they were, and nothing that a pickle asks for is run."""

import os
import pickle
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest

from nlcore.checkpoints import safe_pickle as pickles
from nlcore.checkpoints.safe_pickle import read_pickle

ARRAYS = [
    np.arange(6).reshape(2, 3, 1).astype(dtype)
    for dtype in ("f2", "f4", "f8", ">f4", "i1", ">i8", "u2", "b1")
]
ARRAYS += [
    np.array(3.5, np.float32),
    np.zeros((0, 3)),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(24.0).reshape(2, 3, 4).transpose(1, 2, 0),
    np.arange(24.0).reshape(4, 6)[::2, ::-1],
]


@pytest.fixture
def write(tmp_path):
    def file(data):
        path = tmp_path / "weights.pkl"
        path.write_bytes(data)
        return path

    return file


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_come_back_bit_for_bit(write, protocol):
    path = write(pickle.dumps({"blobs": ARRAYS}, protocol))
    for found, array in zip(read_pickle(path)["blobs"], ARRAYS, strict=True):
        assert found.dtype == array.dtype and found.shape == array.shape
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_containers_and_numbers(write, protocol):
    content = {
        "list": [1, -2.5, None, True, 10**30],
        "tuple": ("text", b"bytes\xff", ()),
        "ordered": OrderedDict(b=1, a=[2, b""]),
        7: {"x": {}},
        "scalar": np.float32(0.1),
    }
    assert read_pickle(write(pickle.dumps(content, protocol))) == content


def test_a_pickle_of_python_2(write):
    values = np.array([1.5, -2.0, 3.25], "<f4")
    raw = values.tobytes()
    data = (
        b"\x80\x02}U\x05blobs}U\x07conv1_wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        b"K\x00\x85U\x01b\x87R(K\x01K\x03\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + b"T" + len(raw).to_bytes(4, "little")
    )
    found = read_pickle(write(data + raw + b"tbss."))["blobs"]["conv1_w"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values)


class Call:
    """Unpickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def touch(marker):
    return f"{sys.executable} -c \"open(r'{marker}', 'w')\""


def evil(marker):
    """Pickles that run a command, or call what could."""
    command = touch(marker)
    python = [sys.executable, "-c", f"open(r'{marker}', 'w')"]
    objects = np.empty(2, object)
    objects[:] = [Call(os.system, command), 1.0]
    text = command.encode()
    system = f"c{os.system.__module__}\nsystem\n".encode()
    return {
        "os.system": pickle.dumps({"conv1_w": Call(os.system, command)}),
        "os.system, protocol 0": pickle.dumps(Call(os.system, command), 0),
        "eval": pickle.dumps([Call(eval, f"__import__('os').system({command!r})")]),
        "in a process": pickle.dumps(Call(subprocess.call, python)),
        "object array": pickle.dumps({"conv1_w": objects}),
        "as a key": pickle.dumps({Call(os.system, command): 1}),
        "INST": b"(V" + text + b"\ni" + system[1:] + b".",
        "OBJ": b"(" + system + b"V" + text + b"\no.",
        "NEWOBJ": system + b"V" + text + b"\n\x85\x81.",
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.tofile\x93.",
        "numpy's own reader": pickle.dumps(Call(np.load, str(marker))),
        "numpy's memmap": pickle.dumps(Call(np.memmap, str(marker), "f4", "w+", 0, (1,))),
        "through the registry": b"\x80\x02\x82\xf0V" + text + b"\n\x85R.",
        "persistent": b"P" + text + b"\n.",
        "a codec": pickle.dumps(Call(__import__("codecs").encode, "text", "rot13")),
        "dtype of objects": pickle.dumps(np.zeros(2, object)),
        "dtype of fields": pickle.dumps(np.zeros(2, [("a", "f4")])),
        "dtype of strings": pickle.dumps(np.array(["a"])),
    }


EVIL = list(evil(""))


@pytest.mark.parametrize("name", EVIL)
def test_nothing_is_run(write, tmp_path, name):
    marker = tmp_path / "marker"
    path = write(evil(marker)[name])
    with pytest.raises(ValueError, match=r"weights.pkl: expected a pickle of numeric NumPy arrays"):
        read_pickle(path)
    assert not marker.exists()


@pytest.mark.parametrize("name", EVIL[:9])
def test_these_pickles_would_have_run(tmp_path, name):
    marker = tmp_path / "marker"
    try:
        pickle.loads(evil(marker)[name])
    except (TypeError, pickle.UnpicklingError) as error:  # NEWOBJ wants a class; it is called
        assert name == "NEWOBJ", error
    else:
        assert marker.exists()


def test_what_is_named_is_in_the_error(write):
    data = pickle.dumps(Call(os.system, "true"))
    with pytest.raises(ValueError, match=rf"it names {os.system.__module__}.system"):
        read_pickle(write(data))


def test_no_attribute_is_set_on_what_a_pickle_can_name(write):
    before = {name: dict(vars(kind)) for name, kind in pickles._NAMES.items()}
    for module, name in pickles._NAMES:
        named = f"c{module}\n{name}\n".encode()
        for state in (b"}V__init__\nK\x01s", b"N}V__init__\nK\x01s\x86", b"N}Vdata\nK\x01s\x86"):
            with pytest.raises(ValueError, match="expected a pickle"):
                read_pickle(write(b"\x80\x02" + named + state + b"b."))
    assert {name: dict(vars(kind)) for name, kind in pickles._NAMES.items()} == before


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"cnumpy\nndarray\n.", "type"),
        (b"\x80\x02cnumpy\nndarray\n)R.", "_StandIn"),
        (b"\x80\x02cnumpy\ndtype\nV" + b"f4\n\x85R.", "_DType"),
        (b"\x80\x04\x8f.", "set"),
    ],
)
def test_what_is_neither_array_nor_plain_is_an_error(write, data, kind):
    with pytest.raises(ValueError, match=f"it contains a {kind}$"):
        read_pickle(write(data))


def test_a_state_for_a_number_is_an_error(write):
    data = pickle.dumps(np.float32(1), 2)
    assert data[-1:] == b"."
    with pytest.raises(ValueError, match="it sets a state on an object that has none"):
        read_pickle(write(data[:-1] + b"K\x01b."))


def test_every_truncation_is_an_error(write):
    for protocol in (0, 2, 5):
        data = pickle.dumps({"blobs": {"conv1_w": ARRAYS[1], "lr": np.float32(1)}}, protocol)
        read_pickle(write(data))
        for length in range(len(data)):
            with pytest.raises(ValueError, match=r"weights.pkl: expected a pickle"):
                read_pickle(write(data[:length]))


def test_too_few_and_too_many_bytes_are_errors(write):
    data = pickle.dumps(np.arange(3, dtype="i8"), 2)
    assert data.count(b"K\x03\x85") == 1  # the shape (3,)
    for length in (b"K\x02\x85", b"K\x04\x85"):
        with pytest.raises(ValueError, match=r"24 bytes for shape \([24],\) and dtype int64"):
            read_pickle(write(data.replace(b"K\x03\x85", length)))


def test_a_container_in_itself_is_an_error(write):
    content = []
    content.append(content)
    with pytest.raises(ValueError, match="RecursionError"):
        read_pickle(write(pickle.dumps(content)))


def test_no_file():
    with pytest.raises(FileNotFoundError):
        read_pickle("nowhere.pkl")
