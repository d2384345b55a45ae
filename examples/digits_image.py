"""A non-local block in a 2-D model of images: digits, classified from patches of 3x3 pixels.

    python examples/digits_image.py [--out DIR]

The digits are 8x8 images. The model's one 3x3 convolution sees a patch around each position, and
its answer is the mean over positions, so it counts patches and never compares two of them. `insert`
puts a block after the convolution's ReLU into the same model, where it starts as the identity, so
that the two start as one; positions then see each other.

Needs scikit-learn, which brings the digits, matplotlib, rich and PyTorch.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from nlcore_torch.insertion import insert

EPOCHS = 100  # each one step on all the digits


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 16, 1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)),
    )


def train(model: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> list[float]:
    """The loss of each epoch on images (B, 1, 8, 8)."""
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=0.01), []
    # down to 0, so that BN's running statistics catch up with the weights
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        loss = nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description="Digits as images, with a block and without.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "output")
    out = parser.parse_args().out

    digits = load_digits()
    images = torch.from_numpy(digits.images / 16).float()[:, None]  # (B, 1, 8, 8)
    labels = torch.from_numpy(digits.target)  # (B,)
    x, x_test, labels, labels_test = train_test_split(images, labels, test_size=450, random_state=0)
    where = {"2": {"pairwise": "dot_product"}}
    models = {
        "without": make_model(),
        "with a block": insert(make_model(), where, example=x[:1]),
    }

    losses = {name: train(model, x, labels) for name, model in models.items()}
    table = Table("loss in epoch", *models)
    for i in (0, 9, 24, 49, EPOCHS - 1):
        table.add_row(str(i + 1), *(f"{loss[i]:.3f}" for loss in losses.values()))
    table.add_section()
    figure, ax = plt.subplots(layout="constrained")
    accuracies = []
    for name, model in models.items():
        with torch.no_grad():
            right = model.eval()(x_test).argmax(1) == labels_test  # (B,)
        accuracies.append(f"{right.float().mean():.3f}")
        ax.plot(range(1, EPOCHS + 1), losses[name], label=f"{name}: test accuracy {accuracies[-1]}")
    table.add_row("test accuracy", *accuracies)
    parameters = (sum(p.numel() for p in model.parameters()) for model in models.values())
    table.add_row("parameters", *map(str, parameters))
    Console().print(table)

    ax.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
    ax.set_title("8x8 digits from 3x3 patches, without and with a block")
    ax.legend()
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "digits_image.png", dpi=120)
    print(f"wrote {out / 'digits_image.png'}")


if __name__ == "__main__":
    main()
