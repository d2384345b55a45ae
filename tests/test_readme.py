"""The README's Python runs as it stands, and what it says of names and values is so."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

import nlcore

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Each block with as many empty lines before it as the README has: tracebacks name its lines.
BLOCKS = [
    "\n" * README.count("\n", 0, match.start(1)) + match[1]
    for match in re.finditer(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
]


def run(code):
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    return names


@pytest.mark.parametrize("code", BLOCKS, ids=["torch", "own"])
def test_block_runs(code):
    run(code)


def test_example_backend_computes_the_block():
    backend = run(BLOCKS[-1])["backend"]
    rng = np.random.default_rng(0)
    spec = nlcore.NonLocalSpec(6, ndim=2, scale=0.5, batch_norm=False)
    weights = nlcore.init_weights(spec, rng, identity=False)
    x = rng.normal(size=(2, 6, 3, 4))
    expected = nlcore.block(spec, weights, x)
    np.testing.assert_allclose(backend(spec, weights, x), expected, rtol=1e-12, atol=1e-12)
    with pytest.raises(NotImplementedError):
        backend(nlcore.NonLocalSpec(6), weights, x)


def test_every_verdict_is_that_of_the_page():
    """Conforms: it passes every check. Anything else: it fails one."""
    page = (ROOT / "docs" / "verdicts.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(.*?)\].*?\|((?: \d+ of \d+ \|){3})$", page, re.MULTILINE)
    passed = {name: [a == b for a, b in re.findall(r"(\d+) of (\d+)", row)] for name, row in rows}
    judged = re.findall(r"^\| (\w+)[^|]*\| `\w+` \| (.*?) \| (.*?) \|$", README, re.MULTILINE)
    assert len(judged) == 4
    for name, wide, half in judged:
        known = name.removesuffix("-lite").lower()
        of = [n for n in passed if n.startswith(known) and not n.endswith(("1d", "2d"))]
        (full,) = (passed[n] for n in of)
        assert (wide == "conforms") == (full[0] and full[2]), name
        assert (half == "conforms") == full[1], name


def measured() -> dict[tuple, dict[str, tuple[float, float]]]:
    """Task -> implementation -> seconds and bytes, of docs/speed.csv."""
    found: dict[tuple, dict[str, tuple[float, float]]] = {}
    with (ROOT / "docs" / "speed.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["engine"].startswith("PyTorch") and row["subsample"] == "1x2x2":
                task = row["pairwise"], row["positions"], row["channels"], row["direction"]
                numbers = float(row["seconds"]), float(row["bytes"] or "nan")
                found.setdefault(task, {})[row["implementation"]] = numbers
    return found


def test_every_speed_is_measured():
    """The smallest and the largest of several runs contain that of docs/speed.csv."""
    line = re.compile(
        r"^\| ([\w ]+), ([\d × ]+) × (\d+) \| (\w+) \| (.*?) "
        r"\| ([\d.]+) to ([\d.]+) times \| ([\d.]+) times",
        re.MULTILINE,
    )
    rows, times = line.findall(README), measured()
    assert len(rows) == 5
    for name, positions, channels, direction, other, low, high, memory in rows:
        task = name.lower().replace(" ", "_"), positions.replace(" × ", "x"), channels
        of = times[*task, "forward" if direction == "inference" else "both"]
        seconds, peak = of["mmcv" if other == "mmcv" else "materialized"]
        faster, less = seconds / of["nlcore"][0], peak / of["nlcore"][1]
        assert float(low) <= round(faster, 2) <= float(high), name
        assert memory == (f"{less:.0f}" if less > 99 else f"{less:.1f}"), name


def test_whole_networks_are_those_of_the_page():
    page = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    line = re.compile(r"^\| (NL \w+), (\w+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE)
    rows = line.findall(README)
    assert len(rows) == 4
    for name, direction, *ratios in rows:
        own = {"inference": "fused", "training": "nlcore"}[direction]
        of: list[str] = []
        columns = {direction: ("slowfast", "pytorchvideo"), f"{direction}, peak": ("slowfast",)}
        for title, names in columns.items():
            _, table = page.split(f"**{title.capitalize()}.**\n\n")
            head, _, *lines = (r[2:-2].split(" | ") for r in table.split("\n\n")[0].splitlines())
            (row,) = (line for line in lines if line[:2] == [name, "1×32×224×224"])
            cells = dict(zip(head, row, strict=True))
            of += [cells[f"{peer} / {own}"] for peer in names]
        assert ratios == of
