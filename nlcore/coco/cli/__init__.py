"""nlcore-coco: detectors with the paper's blocks, trained and evaluated on COCO."""

import sys


def main() -> None:
    """Run the command line. Without its packages, print one line with what to install."""
    try:
        from nlcore.coco.cli.coco_commands import app
    except ImportError as error:
        print(f"nlcore-coco needs {error.name}: pip install 'nlcore[coco]'", file=sys.stderr)
        sys.exit(2)
    try:
        app(prog_name="nlcore-coco")
    except KeyboardInterrupt:
        print("nlcore-coco: interrupted", file=sys.stderr)
        sys.exit(130)
