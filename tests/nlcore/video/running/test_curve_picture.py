"""The curves are those of the tables."""

import numpy as np
import pytest

from nlcore.video.running import RunFolder, draw_curves
from nlcore.video.running.curve_picture import running_mean

pytest.importorskip("matplotlib")


def run_of(folder, errors, validation=None, loss=1.0):
    folder.mkdir()
    table = RunFolder(folder).training
    for number, error in enumerate(errors, 1):
        table.append(number, {"rate": 1, "loss": loss, "error": error, "seconds": 0})
    if validation is not None:
        (folder / "validation.csv").write_text(
            f"iteration,loss,error\n{len(errors)},2,{validation}\n"
        )
    return folder


def test_several_runs(tmp_path):
    errors = [0.9, 0.5, 0.4, 0.1]
    runs = [run_of(tmp_path / "a", errors, 0.3), run_of(tmp_path / "b", [0.8] * 40)]
    axes = draw_curves(runs).axes[0]
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    assert set(lines) == {"a, training", "a, validation", "b, training"}
    assert np.allclose(lines["a, training"], [[n, 100 * e] for n, e in enumerate(errors, 1)])
    assert lines["a, validation"].tolist() == [[4, 30]]
    assert lines["b, training"].shape == (40, 2)
    assert axes.get_ylabel() == "top-1 error (%)"
    colors = {line.get_label(): line.get_color() for line in axes.lines}
    assert colors["a, training"] == colors["a, validation"] != colors["b, training"]


def test_losses_where_there_is_no_error(tmp_path):
    runs = [run_of(tmp_path / "a", [0.5]), run_of(tmp_path / "b", [float("nan")] * 3, loss=0.7)]
    axes = draw_curves(runs).axes[0]
    assert axes.get_ylabel() == "loss"
    assert axes.lines[-1].get_ydata().tolist() == pytest.approx([0.7] * 3)


def test_running_mean():
    values = np.arange(10.0)
    for width in (1, 3, 20):
        right = [values[max(0, n + 1 - width) : n + 1].mean() for n in range(10)]
        assert running_mean(values, width) == pytest.approx(right)


def test_errors(tmp_path):
    with pytest.raises(ValueError, match=r"without training\.csv"):
        draw_curves([tmp_path])
    with pytest.raises(ValueError, match="at least one folder"):
        draw_curves([])
