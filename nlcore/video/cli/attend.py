"""nlcore-video attend: the command of nlcore_torch.video.attend."""

from __future__ import annotations

import typer

from nlcore.video.cli.options import Framework, function_of
from nlcore.video.cli.terminal import or_exit

#: Everything after "attend" is that command's.
ALL = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def attend(context: typer.Context) -> None:
    """Draw where one position of a video looks (PyTorch)."""
    with or_exit():
        app = function_of(Framework.torch, "attend", "app")
    app(context.args, prog_name="nlcore-video attend")
