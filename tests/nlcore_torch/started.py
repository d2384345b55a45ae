"""A command in one or more processes, as `torchrun` starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

#: Python that runs nlcore-video.
RUN = "from nlcore.video.cli import main; main()"


def environment(port, rank, processes):
    """The variables of one process."""
    found = {**os.environ, "OMP_NUM_THREADS": "1"}
    if processes > 1:
        found |= {"RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_RANK": str(rank)}
        found |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        if sys.platform == "linux":
            found["GLOO_SOCKET_IFNAME"] = "lo"
    return found


def started(arguments, processes=1, run=RUN):
    """The command, in as many processes as torchrun would start."""
    port = free_port()
    words = [sys.executable, "-c", run, *map(str, arguments)]
    return [
        subprocess.Popen(
            words,
            env=environment(port, rank, processes),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]


def free_port():
    """A port that no one listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
