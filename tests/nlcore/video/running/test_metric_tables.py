import numpy as np
import pytest

from nlcore.video.running.metric_tables import MetricTable, read_table


def test_rows_are_read_as_they_were_written(tmp_path):
    table = MetricTable(tmp_path / "a.csv", ("loss", "error"))
    rows = [(0.1 + 0.2, float("nan")), (1e-300, 1 / 3)]
    for number, (loss, error) in enumerate(rows, 1):
        table.append(number, {"error": error, "loss": np.float64(loss)})
    found = read_table(tmp_path / "a.csv")
    assert list(found) == ["iteration", "loss", "error"]
    assert found["iteration"].tolist() == [1, 2]
    assert np.array_equal(np.stack([found["loss"], found["error"]], 1), rows, equal_nan=True)
    assert (
        (tmp_path / "a.csv").read_text().startswith("iteration,loss,error\n1,0.30000000000000004")
    )


def test_rows_after_an_iteration_are_dropped(tmp_path):
    table = MetricTable(tmp_path / "a.csv", ("loss",))
    table.keep_until(3)  # there is no file
    for number in range(1, 6):
        table.append(number, {"loss": number})
    with (tmp_path / "a.csv").open("a") as file:
        file.write("3,0.")  # a run was killed
    table.keep_until(3)
    assert read_table(tmp_path / "a.csv")["iteration"].tolist() == [1, 2, 3]
    table.append(4, {"loss": 0})
    assert read_table(tmp_path / "a.csv")["loss"].tolist() == [1, 2, 3, 0]
    table.keep_until(0)
    assert read_table(tmp_path / "a.csv")["loss"].tolist() == []


def test_errors(tmp_path):
    table = MetricTable(tmp_path / "a.csv", ("loss",))
    with pytest.raises(ValueError, match=r"values must be \('loss',\); received \('los',\)"):
        table.append(1, {"los": 1})
    (tmp_path / "a.csv").write_text("iteration,loss\n1,x\n")
    with pytest.raises(ValueError, match=r"a.csv must have a number for each of \['iteration', "):
        read_table(tmp_path / "a.csv")
    assert read_table(tmp_path / "none.csv") == {}
