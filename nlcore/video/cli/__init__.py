"""nlcore-video: data, recipes, training and evaluation of the paper's networks."""

import sys


def main() -> None:
    """Run the command line. Without its packages, print one line with what to install."""
    try:
        from nlcore.video.cli.commands import app
    except ImportError as error:
        print(f"nlcore-video needs {error.name}: pip install 'nlcore[video]'", file=sys.stderr)
        sys.exit(2)
    try:
        app(prog_name="nlcore-video")
    except KeyboardInterrupt:
        print("nlcore-video: interrupted", file=sys.stderr)
        sys.exit(130)
