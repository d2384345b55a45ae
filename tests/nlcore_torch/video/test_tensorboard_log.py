"""Metrics are written for TensorBoard where it is installed."""

from importlib.util import find_spec

from nlcore_torch.video.tensorboard_log import TensorBoardReporter, tensorboard_log


class Writer:
    def __init__(self):
        self.scalars = []

    def add_scalar(self, *scalar):
        self.scalars.append(scalar)


def test_scalars():
    writer = Writer()
    reporter = TensorBoardReporter(writer)
    reporter.training(3, {"loss": 0.5, "rate": 0.1}, 8)
    reporter.validation(3, {"error": 0.25})
    reporter.say("nothing")
    assert writer.scalars == [
        *(("training/loss", 0.5, 3), ("training/rate", 0.1, 3), ("validation/error", 0.25, 3))
    ]


def test_only_where_it_is_installed(tmp_path):
    with tensorboard_log(tmp_path, 0) as reporters:
        assert len(reporters) == (find_spec("tensorboard") is not None)
    with tensorboard_log(tmp_path, 1) as reporters:
        assert reporters == ()
