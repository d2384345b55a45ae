"""The scale of the loss follows torch's GradScaler, and exchanges its state."""

import torch

from nlcore_keras.video.loss_scale import LossScale


def test_it_follows_torchs():
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([parameter], lr=0.0)
    theirs = torch.amp.GradScaler("cpu")
    ours = LossScale(True)
    theirs.scale(parameter.sum())  # which makes its tensors
    assert ours.state() == theirs.state_dict()
    for n in range(2100):
        wrong = n in (3, 5)
        parameter.grad = torch.full((1,), float("inf") if wrong else 1.0)
        theirs.step(optimizer)
        theirs.update()
        ours.after(not wrong)
        assert ours.state() == theirs.state_dict()
    assert ours.value == 65536.0 / 2  # halved twice, and doubled 2000 updates later
    other = LossScale(True)
    other.load(theirs.state_dict())
    assert other.state() == ours.state()


def test_without_it():
    plain = LossScale(False)
    plain.load({"scale": 2.0, "_growth_tracker": 1})
    assert plain.value == 1.0 and plain.state() == {}
