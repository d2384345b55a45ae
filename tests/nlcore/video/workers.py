"""Work for processes, which import it by name."""

import os


def squared(number):
    """The square; 13 crashes the process, as a decoder may."""
    if number == 13:
        os._exit(1)
    return number**2
