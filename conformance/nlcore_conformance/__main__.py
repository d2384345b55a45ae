"""python -m nlcore_conformance, and the command nlcore-conformance."""

import sys


def main() -> None:
    """Run the command line. Without its packages, print one line with what to install."""
    try:
        from nlcore_conformance.cli import app
    except ImportError as error:
        print(
            f"nlcore-conformance needs {error.name}: pip install 'nlcore[conformance]'",
            file=sys.stderr,
        )
        sys.exit(2)
    try:
        app(prog_name="nlcore-conformance")
    except KeyboardInterrupt:  # also out of Numba, while it compiles
        print("nlcore-conformance: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
