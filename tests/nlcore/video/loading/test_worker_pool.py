"""Clips come in order from any number of processes, and failures are named."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from broken_sources import Large, Numbers

from nlcore.video.loading import LoadingError, Workers


@pytest.mark.parametrize("count", [0, 1, 3])
def test_order(count):
    with Workers({"a": Numbers()}, count) as workers:
        for _ in range(2):  # the processes serve one iterator after another
            clips = list(workers.clips("a", ((key,) for key in range(20))))
            assert [clip.video for clip in clips] == list(range(20))
            assert all((clip.pixels == clip.video).all() for clip in clips)
        assert list(workers.clips("a", [])) == []


def test_large_clips_come_whole():
    expected = [Large().load(key) for key in (5, 6)]
    with Workers({"a": Large()}, 1) as workers:
        for clip, own in zip(workers.clips("a", [(5,), (6,)]), expected, strict=True):
            assert clip.pixels.dtype == np.float32 and clip.target == own.target
            np.testing.assert_array_equal(clip.pixels, own.pixels)


@pytest.mark.parametrize(
    ("how", "count", "reason"),
    [
        ("exit", 2, "its worker process ended with exit code 3"),
        ("kill", 1, "its worker process ended with exit code -9"),
        ("value", 2, "thirteen.mp4 is damaged"),
        ("value", 0, "thirteen.mp4 is damaged"),
        ("bug", 1, "RuntimeError: no such thing"),
        ("hang", 2, "did not come within 1 s"),
    ],
)
def test_failures_are_named(how, count, reason):
    patience = 1.0 if how == "hang" else 60.0
    with Workers({"a": Numbers(how)}, count, patience=60.0) as workers:
        stream = workers.clips("a", ((key,) for key in range(20)))
        found = [next(stream).video for _ in range(13)]
        workers.patience = patience
        began = time.monotonic()
        with pytest.raises(LoadingError, match=f"^iteration 13, slot 0: 13.mp4: {reason}$"):
            next(stream)
    assert found == list(range(13)) and time.monotonic() - began < 30


def test_few_clips_are_loaded_in_advance(tmp_path):
    log = tmp_path / "log"
    with Workers({"a": Numbers(log=log)}, 1, ahead=4) as workers:
        stream = workers.clips("a", ((key,) for key in range(100)))
        next(stream), next(stream)
        time.sleep(0.5)
        assert len(log.read_text().split()) <= 6
        stream.close()
        assert next(workers.clips("a", [(50,)])).video == 50


def test_processes_end_with_the_block():
    with Workers({"a": Numbers()}, 2) as workers:
        next(workers.clips("a", [(1,)]))
        processes = [worker.process for worker in workers._workers]
        assert all(process.is_alive() for process in processes)
    assert not any(process.is_alive() for process in processes)


def test_wrong_number():
    with pytest.raises(ValueError, match="workers must be at least 0; received -1"):
        Workers({}, -1)


PARENT = """
import os, signal, sys
from broken_sources import Numbers
from nlcore.video.loading import Workers
if __name__ == "__main__":
    workers = Workers({"a": Numbers()}, 2)
    next(workers.clips("a", [(1,)]))
    print(*(worker.process.pid for worker in workers._workers), flush=True)
    if sys.argv[1] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not Path("/proc").exists(), reason="it looks at /proc")
@pytest.mark.parametrize("how", ["kill", "exit"])
def test_processes_end_with_their_parent(tmp_path, how):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    result = subprocess.run(
        [sys.executable, script, how],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    pids = result.stdout.split()
    assert len(pids) == 2, result.stderr
    for _ in range(100):
        alive = [pid for pid in pids if _is_running(pid)]
        if not alive:
            break
        time.sleep(0.1)
    assert not alive


def _is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
