"""Failing cases as files: what they hold, and that they can be judged again without hypothesis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nlcore
from nlcore import NonLocalSpec
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.protocol import CannotRun
from nlcore_conformance.checks.catalogue import named_check
from nlcore_conformance.checks.judging import Failed, attempt
from nlcore_conformance.problems.case import Case, arrays
from nlcore_conformance.run import failures

SPEC = NonLocalSpec(3, 2, ndim=2, pairwise="dot_product", subsample=(2, 1), bias=True)
CASE = Case(SPEC, 2, (4, 3), "float32", layout="channels_last", seed=3)


class Wrong(Plain):
    """W_z's bias is left out."""

    dtypes = ("float32", "bfloat16")

    def bias(self, call, name):
        return None if name == "out" else super().bias(call, name)


class WrongGradient(Plain):
    """That of W_z is off by a tenth."""

    def linear_vjp(self, call, name, x, dy):
        dx, grads = super().linear_vjp(call, name, x, dy)
        return dx, {n: g * (1.1 if n == "out.weight" else 1) for n, g in grads.items()}


class Crashes(Plain):
    def residual(self, call, v, x):
        raise RuntimeError("no memory")


class Short(Plain):
    def answer(self, call, rows):
        return super().answer(call, rows)[:, :1]


def written(folder, backend, check: str, case: Case = CASE):
    """The failure as it was found, its JSON file, and the files' contents."""
    with pytest.raises(Failed) as found:
        attempt(named_check(check), backend, case)
    failure = found.value.failure
    file = failures.write(folder, "my.lib:wrong", backend, named_check(check), failure)
    with np.load(file.with_suffix(".npz")) as stored:
        return failure, file, json.loads(file.read_text()), dict(stored)


def test_a_forward_failure(tmp_path):
    failure, file, fields, stored = written(tmp_path / "new", Wrong(), "forward / dot_product")
    assert file.name == "my-lib-wrong-forward-dot-product.json"
    weights, x, _ = arrays(CASE)
    assert set(stored) == {"x", "expected", "received", "bound", *weights}
    for name, array in {"x": x, **weights}.items():
        np.testing.assert_array_equal(stored[name], array)
        assert stored[name].dtype == np.float32
    np.testing.assert_array_equal(stored["expected"], nlcore.block(SPEC, weights, x))
    np.testing.assert_array_equal(stored["received"], Wrong().block(SPEC, weights, x))
    ratio = np.abs(stored["received"] - stored["expected"]) / stored["bound"]
    assert ratio.max() == failure.judgement.ratio == fields["judgement"]["ratio"]
    assert fields["backend"] == "my.lib:wrong" and fields["check"] == "forward / dot_product"
    assert Case.from_json(fields["case"]) == CASE
    assert fields["replay"].startswith("nlcore-conformance replay '{")
    assert fields["environment"]["specification"] == nlcore.SPEC_VERSION
    assert fields["environment"]["numpy"] == np.__version__
    assert "bfloat16 is kept as float32" in fields["arrays"]["note"]


def test_a_gradient_failure_has_dz_and_the_output_that_is_wrong(tmp_path):
    _, _, fields, stored = written(tmp_path, WrongGradient(), "gradient / dot_product")
    weights, x, dz = arrays(CASE)
    assert fields["output"] == "out.weight"
    np.testing.assert_array_equal(stored["dz"], dz)
    _, expected = nlcore.block_vjp(SPEC, weights, x, dz)
    np.testing.assert_array_equal(stored["expected"], expected["out.weight"])
    assert stored["received"].shape == (3, 2)


def test_bfloat16_is_kept_as_float32(tmp_path):
    case = Case(SPEC, 2, (4, 3), "bfloat16", seed=3)
    _, file, _, stored = written(tmp_path, Wrong(), "forward / dot_product", case)
    assert stored["x"].dtype == stored["received"].dtype == np.float32
    np.testing.assert_array_equal(stored["x"], arrays(case)[1].astype(np.float32))
    judgements, error = failures.replay(failures.read(str(file)), Wrong())
    assert judgements[0].ratio > 1 and not error and not judgements[0].note


def test_what_raises_and_what_is_misshapen(tmp_path):
    _, file, fields, stored = written(tmp_path, Crashes(), "forward / dot_product")
    assert "received" not in stored and "expected" in stored
    assert fields["judgement"] is None and "no memory" in fields["error"]
    assert failures.replay(failures.read(str(file)), Crashes())[1].startswith("raised RuntimeError")
    _, file, fields, stored = written(tmp_path, Short(), "forward / dot_product")
    assert stored["received"].shape == (2, 1, 4, 3)
    assert fields["judgement"]["ratio"] == "inf"
    assert "shape" in failures.replay(failures.read(str(file)), Short())[0][0].note


def test_what_numpy_cannot_convert_is_not_kept(tmp_path):
    class Tensor:
        def __array__(self, *args, **kwargs):
            raise RuntimeError("it requires a gradient")

    class Foreign(Plain):
        def block(self, *args):
            return Tensor()

        def block_vjp(self, *args):
            return {"dx": Tensor()}

    _, _, fields, stored = written(tmp_path, Foreign(), "forward / dot_product")
    assert "received" not in stored
    assert fields["judgement"]["note"].endswith("received Tensor")
    _, _, fields, stored = written(tmp_path, Foreign(), "gradient / dot_product")
    assert "received" not in stored and "block_vjp must return" in fields["error"]


def test_a_single_number_is_kept(tmp_path):
    class Scalar(Plain):
        def block(self, *args):
            return np.float32(2)

    _, _, _, stored = written(tmp_path, Scalar(), "forward / dot_product")
    assert stored["received"].shape == () and stored["received"] == 2


def test_where_failures_can_be_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "new" / "newer", Path("new")):
        failures.possible(folder)
    for folder in (tmp_path / "file", Path("file"), Path("file", "new")):
        with pytest.raises(CannotRun, match="need a folder to be written into; received the file"):
            failures.possible(folder)


def test_arguments_that_are_changed_are_kept_as_they_were(tmp_path):
    class Changes(Plain):
        def block(self, spec, weights, x, training=False):
            x *= 2
            weights["g.weight"] *= 2
            return super().block(spec, weights, x, training)

    _, _, fields, stored = written(tmp_path, Changes(), "forward / dot_product")
    assert "must not change its arguments" in fields["error"]
    np.testing.assert_array_equal(stored["x"], arrays(CASE)[1])
    np.testing.assert_array_equal(stored["g.weight"], arrays(CASE)[0]["g.weight"])


def test_a_gradient_that_raises_has_dx(tmp_path):
    class NoBackward(Plain):
        def backward(self, call, s, dz):
            raise RuntimeError

    _, _, fields, stored = written(tmp_path, NoBackward(), "gradient / dot_product")
    assert fields["output"] == "dx" and "dz" in stored


def test_a_property_keeps_its_last_question(tmp_path):
    class Twice(Plain):
        def residual(self, call, v, x):
            return v + 2 * x

    _, file, fields, stored = written(tmp_path, Twice(), "identity at insertion")
    assert not stored["bn.weight"].any() and arrays(CASE)[0]["bn.weight"].all()
    np.testing.assert_array_equal(stored["received"], 2 * stored["x"])
    np.testing.assert_array_equal(stored["expected"], stored["x"])
    assert fields["arrays"]["spec"] == json.loads(json.dumps(SPEC.arguments()))
    judgements, _ = failures.replay(failures.read(str(file)), Twice())
    assert judgements[0].ratio > 1


def test_a_new_block_keeps_the_weights_that_it_was_asked_with(tmp_path):
    class Lost(Plain):
        def initial(self, spec):
            weights = super().initial(spec)
            return weights | {"bn.running_var": 0 * weights["bn.running_var"]}

    case = Case(SPEC, 2, (4, 3), "float32", seed=3)
    failure, file, fields, stored = written(tmp_path, Lost(), "initial state", case)
    assert fields["output"] == failure.judgement.output == "bn.running_var"
    assert {"expected", "bound", "received"}.isdisjoint(stored)
    assert not stored["bn.running_var"].any() and stored["theta.weight"].any()
    judgements, _ = failures.replay(failures.read(str(file)), Lost())
    assert max(j.ratio for j in judgements) == np.inf


def test_the_arrays_beside_the_file_are_what_is_judged(tmp_path):
    _, file, _, stored = written(tmp_path, Wrong(), "forward / dot_product")
    stored["out.bias"] = 0 * stored["out.bias"]  # with which leaving it out is right
    np.savez(file.with_suffix(".npz"), **stored)
    judgements, _ = failures.replay(failures.read(str(file)), Wrong())
    assert judgements[0].ratio <= 1
    file.with_suffix(".npz").unlink()
    judgements, _ = failures.replay(failures.read(str(file)), Wrong())
    assert judgements[0].ratio > 1


def test_the_line_that_is_printed_is_read_too(tmp_path):
    _, _, fields, _ = written(tmp_path, Wrong(), "forward / dot_product")
    recorded = failures.read(fields["replay"].split("'")[1])
    assert (recorded.backend, recorded.case, recorded.arrays) == ("my.lib:wrong", CASE, None)
    assert failures.replay(recorded, Wrong())[0][0].ratio > 1


def test_replay_needs_little(tmp_path):
    (tmp_path / "lib.py").write_text(
        "import nlcore\n"
        "def wrong(spec, weights, x, training=False):\n"
        "    return (nlcore.block(spec, weights, x, training) * 1.01).astype(x.dtype)\n"
    )
    _, file, _, _ = written(tmp_path, Wrong(), "forward / dot_product")
    code = (
        "import sys; "
        "absent = ('hypothesis', 'jinja2', 'matplotlib', 'ml_dtypes', 'pytest', 'safetensors'); "
        "sys.modules.update(dict.fromkeys(absent)); "  # importing them raises
        "from nlcore_conformance.__main__ import main; main()"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, "replay", str(file), "--backend", "lib:wrong"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ,
        check=False,
    )
    assert out.returncode == 1, out.stderr
    assert "z            ratio " in out.stdout
    assert "first difference in: " in out.stdout
