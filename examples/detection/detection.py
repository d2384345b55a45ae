"""Train Mask R-CNN and Keypoint R-CNN with and without the paper's blocks on drawn sets.

    python examples/detection/detection.py [--out DIR] [--part PART] [--processes N]

The sets have COCO's format: shapes with crowds and figures of 17 keypoints on photographs, see
drawn_sets.py. All is done by the command nlcore-coco: the sets are checked, four detectors with a
narrow ResNet-50 are trained from random weights on the CPU, and evaluated on other images by
pycocotools. Each is compared with the same detector before its training. The pictures are in
DIR/RUN/evaluation/pictures.

It takes about ten minutes on two processors. Needs PyTorch, torchvision, scikit-image and
nlcore[coco]. Exit status 1: a detector has not learnt.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from drawn_sets import draw_people, draw_shapes

COMMAND = "from nlcore.coco.cli import main; main()"
#: Task -> set, preset, where its blocks are, outputs of the box predictor, and iterations.
TASKS = {
    "mask": ("shapes", "detectron_mask", "backbone", 4, 240),
    "keypoints": ("people", "detectron_keypoints", "both", 2, 160),
}
#: Kinds of results -> least AP that a trained detector must gain over an untrained one.
GAINS = {"bbox": 0.15, "segm": 0.15, "keypoints": 0.15}


def recipe(task: str, blocks: bool, iterations: int) -> dict:
    """A recipe for small images and few iterations, from random weights."""
    _, preset, place, classes, _ = TASKS[task]
    options = {
        "rpn_pre_nms_top_n_train": 300,
        "rpn_pre_nms_top_n_test": 200,
        "rpn_post_nms_top_n_train": 100,
        "rpn_post_nms_top_n_test": 50,
        "rpn_batch_size_per_image": 64,
        "box_batch_size_per_image": 32,
        "box_detections_per_img": 10,
    }
    detector = {
        "blocks": place if blocks else "none",
        "norm": "batch",  # frozen statistics need pretrained weights
        "classes": classes,
        "min_size": [128],
        "max_size": 160,
        "width": 16,
        "pyramid": 64,
        "head": 64,
        "options": options,
    }
    return {
        "preset": preset,
        "detector": detector,
        "batch": 4,
        "images_per_device": 4,
        "iterations": iterations,
        "steps": [iterations * 7 // 10, iterations * 9 // 10],
        "warmup": 20,
        "warmup_factor": 0.1,
        "clip_norm": 5.0,
        "frozen": [],
        "initial": "random",
    }


def command(*arguments: object) -> None:
    """Run nlcore-coco on one processor."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ nlcore-coco {shlex.join(words)}", flush=True)
    subprocess.run(
        [sys.executable, "-c", COMMAND, *words],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def train(out: Path, task: str, blocks: bool, iterations: int) -> None:
    """Train and evaluate a detector."""
    name = f"{task}-{'blocks' if blocks else 'plain'}"
    data = out / TASKS[task][0]
    (out / f"{name}.json").write_text(json.dumps(recipe(task, blocks, iterations), indent=2))
    common = ("--recipe", out / f"{name}.json", "--workers", 0, "--device", "cpu")
    command(
        *("train", data, "--training", "train", "--validation", "val", "--output", out / name),
        *("--every", max(iterations // 4, 1), "--keep", 4, *common),
    )
    command("evaluate", out / name, data, "--split", "val", *common, "--pictures", 4)


def untrained(out: Path, task: str) -> None:
    """Evaluate a detector after one iteration with a rate of almost 0."""
    data, name = out / TASKS[task][0], f"{task}-untrained"
    still = recipe(task, True, 1) | {"base_rate": 1e-12, "steps": [], "factors": [1.0], "warmup": 0}
    (out / f"{name}.json").write_text(json.dumps(still, indent=2))
    common = ("--recipe", out / f"{name}.json", "--workers", 0, "--device", "cpu")
    command("train", data, "--training", "train", "--output", out / name, *common)
    command("evaluate", out / name, data, "--split", "val", *common, "--pictures", 0)


def results(run: Path) -> dict[str, float]:
    """AP by the kind of results."""
    metrics = json.loads((run / "evaluation" / "metrics.json").read_text())
    return {kind: metrics[kind]["AP"] for kind in GAINS if kind in metrics}


def losses(run: Path) -> tuple[float, float]:
    """The mean loss of the first and of the last tenth of the iterations."""
    with (run / "training.csv").open(newline="") as file:
        values = [float(row["loss"]) for row in csv.DictReader(file)]
    part = max(len(values) // 10, 1)
    return sum(values[:part]) / part, sum(values[-part:]) / part


def learnt(out: Path, task: str) -> bool:
    """Print the results of a task, and return whether its detectors have learnt."""
    before, good = results(out / f"{task}-untrained"), True
    print(f"{task}, untrained: " + ", ".join(f"{k} AP {100 * v:.1f}" for k, v in before.items()))
    for name in (f"{task}-plain", f"{task}-blocks"):
        first, last = losses(out / name)
        found = results(out / name)
        shown = ", ".join(f"{kind} AP {100 * value:.1f}" for kind, value in found.items())
        print(f"{name}: loss {first:.2f} -> {last:.2f}, {shown}")
        good &= last < first and all(found[k] >= before[k] + GAINS[k] for k in found)
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description="Train detectors on drawn sets.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "output")
    parser.add_argument("--part", type=float, default=1.0, help="of the iterations")
    parser.add_argument("--processes", type=int, default=2, help="detectors trained at a time")
    args = parser.parse_args()

    out = args.out
    shutil.rmtree(out, ignore_errors=True)
    for draw, name in ((draw_shapes, "shapes"), (draw_people, "people")):
        draw(out / name, "train", 96, seed=1)
        draw(out / name, "val", 24, seed=2)
        command("check", out / name)
    with ThreadPoolExecutor(args.processes) as pool:
        jobs = [pool.submit(untrained, out, task) for task in TASKS]
        jobs += [
            pool.submit(train, out, task, blocks, max(round(args.part * TASKS[task][-1]), 1))
            for blocks in (True, False)
            for task in TASKS
        ]
        for job in jobs:
            job.result()
    for task in TASKS:
        runs = [out / f"{task}-{name}" for name in ("blocks", "plain")]
        command("curves", *runs, "--output", out / f"{task}.png")
    print()
    if not all([learnt(out, task) for task in TASKS]):
        sys.exit("a detector has not learnt")


if __name__ == "__main__":
    main()
