import os
import signal

import pytest

from nlcore.video.running.stopping import Stopping


def test_a_signal_is_remembered():
    before = signal.getsignal(signal.SIGTERM)
    with Stopping() as stopping:
        assert stopping.received is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopping.received == "SIGTERM"
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_second_interrupt_interrupts():
    with pytest.raises(KeyboardInterrupt), Stopping() as stopping:
        os.kill(os.getpid(), signal.SIGINT)
        assert stopping.received == "SIGINT"
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
