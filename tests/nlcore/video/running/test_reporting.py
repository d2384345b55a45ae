"""What a training shows: lines for people, and scalars for TensorBoard where it is installed."""

from importlib.util import find_spec

import pytest

from nlcore.video.running.reporting import TensorBoardReporter, TerminalReporter, tensorboard_log


class Writer:
    def __init__(self):
        self.scalars = []

    def add_scalar(self, *scalar):
        self.scalars.append(scalar)

    def flush(self):
        self.scalars.append("flush")


def test_scalars():
    writer = Writer()
    reporter = TensorBoardReporter(writer)
    reporter.training(3, {"loss": 0.5, "rate": 0.1}, 8)
    reporter.validation(3, {"error": 0.25})
    reporter.say("nothing")
    assert writer.scalars == [
        *(("training/loss", 0.5, 3), ("training/rate", 0.1, 3), ("validation/error", 0.25, 3)),
        "flush",
    ]


def test_only_where_it_is_installed(tmp_path):
    with tensorboard_log(tmp_path) as reporters:
        assert len(reporters) == (find_spec("tensorboard") is not None)
        for reporter in reporters:
            reporter.training(1, {"loss": 0.5, "error": float("nan")}, 8)
    assert (tmp_path / "tensorboard").exists() == bool(reporters)
    with tensorboard_log(tmp_path, process=1) as reporters:
        assert reporters == ()


def test_lines_where_there_is_no_terminal(capsys):
    pytest.importorskip("rich")
    with TerminalReporter(10) as reporter:
        reporter.SECONDS = 0.0
        reporter.training(1, {"loss": 0.5}, 8)
        reporter.validation(1, {"error": 0.25, "top5_error": 0.125})
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("iteration 1: loss 0.500, ") and lines[0].endswith(" clips/s")
    assert lines[1] == "iteration 1: validation error 0.25, top5 error 0.125"
