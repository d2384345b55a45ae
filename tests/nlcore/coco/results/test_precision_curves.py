"""Losses and average precisions of runs."""

import pytest

pytest.importorskip("matplotlib")

from nlcore.coco.results.precision_curves import draw_precision_curves
from nlcore.video.running.metric_tables import MetricTable


def test_curves(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    training = MetricTable(run / "training.csv", ("rate", "loss"))
    for i in range(1, 5):
        training.append(i, {"rate": 1, "loss": 5.0 - i})
    validation = MetricTable(run / "validation.csv", ("box_AP", "box_AP50", "mask_AP"))
    validation.append(4, {"box_AP": 0.25, "box_AP50": 0.5, "mask_AP": 0.125})
    losses, precisions = draw_precision_curves([run]).axes
    assert losses.lines[0].get_ydata().tolist() == [4, 3, 2, 1]
    assert {line.get_label(): line.get_ydata().tolist() for line in precisions.lines} == {
        "run, box": [25.0],
        "run, mask": [12.5],
    }
    with pytest.raises(ValueError, match=r"received one without training\.csv"):
        draw_precision_curves([tmp_path])
    with pytest.raises(ValueError, match="at least one folder"):
        draw_precision_curves([])
