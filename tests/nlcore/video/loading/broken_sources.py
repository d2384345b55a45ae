"""Sources whose clips fail, for processes, which import them by name."""

import os
import signal
import time

import numpy as np

from nlcore.video.loading import LoadedClip


class Numbers:
    """Clips with their key as pixels. Key 13 fails in the way of `how`."""

    def __init__(self, how="", log=None):
        self.how, self.log = how, log

    def load(self, key):
        if self.log is not None:
            with open(self.log, "a") as file:
                file.write(f"{key}\n")
        if key == 13:
            if self.how == "exit":
                os._exit(3)
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "hang":
                time.sleep(60)
            if self.how == "value":
                raise ValueError("thirteen.mp4 is damaged")
            if self.how == "bug":
                raise RuntimeError("no such thing")
        time.sleep(0.002 * (key % 3))
        return LoadedClip(key, np.array([key]), np.full((3, 2, 4, 4), key, np.float32), key)

    def named(self, key):
        return f"iteration {key}, slot 0: {key}.mp4"


class Large:
    """Clips of more bytes than a pipe holds, (3, 2, 210, 230) float32, not contiguous."""

    def load(self, key):
        pixels = np.arange(3 * 2 * 210 * 230, dtype=np.float32).reshape(210, 230, 2, 3) + key
        return LoadedClip(key, np.array([key]), pixels.transpose(3, 2, 0, 1), key)

    def named(self, key):
        return f"clip {key}"
