"""A non-local block in a 1-D model of sequences: digits row by row, and at each row, which digit?

    python examples/digits_sequence.py [--out DIR]

A digit is a sequence of 8 rows of 8 pixels, and the model names it at every one of them. Its one
convolution sees three rows, which is often too few. With a block each row sees all the others.
The third model has the same block, with the same parameters, but each row sees itself alone: what
it gains is the parameters' work, and not the other rows'.

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
from torch import Tensor, nn

from nlcore_torch import NonLocalBlock

EPOCHS = 100  # each one step on all the digits


class Alone(NonLocalBlock):
    """The block where each position sees itself alone."""

    def forward(self, x: Tensor) -> Tensor:  # (B, C, T)
        rows = x.mT.reshape(-1, x.shape[1], 1)  # (B T, C, 1)
        return super().forward(rows).reshape(x.mT.shape).mT


def make_model(block: type[nn.Module]) -> nn.Sequential:
    torch.manual_seed(0)
    rows = nn.Sequential(nn.Conv1d(8, 32, 3, padding=1), nn.BatchNorm1d(32), nn.ReLU())
    digits = nn.Sequential(
        nn.Conv1d(32, 32, 1), nn.BatchNorm1d(32), nn.ReLU(), nn.Conv1d(32, 10, 1)
    )
    return nn.Sequential(rows, block(32, ndim=1, pairwise="dot_product"), digits)


def train(model: nn.Module, x: Tensor, labels: Tensor) -> list[float]:
    """The loss of each epoch on sequences (B, 8, T), labelled (B, T)."""
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
    parser = argparse.ArgumentParser(description="Digits as sequences, with a block and without.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "output")
    out = parser.parse_args().out

    digits = load_digits()
    rows = torch.from_numpy(digits.images / 16).float().mT  # (B, 8, T): a row's pixels, rows
    labels = torch.from_numpy(digits.target)[:, None].expand(-1, 8)  # (B, T)
    x, x_test, labels, labels_test = train_test_split(rows, labels, test_size=450, random_state=0)
    kinds = {"without": nn.Identity, "each row alone": Alone, "with a block": NonLocalBlock}
    models = {name: make_model(block) for name, block in kinds.items()}

    losses = {name: train(model, x, labels) for name, model in models.items()}
    table = Table("loss in epoch", *models)
    for i in (0, 9, 24, 49, EPOCHS - 1):
        table.add_row(str(i + 1), *(f"{loss[i]:.3f}" for loss in losses.values()))
    table.add_section()
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    accuracies = []
    for name, model in models.items():
        with torch.no_grad():
            hits = model.eval()(x_test).argmax(1) == labels_test  # (B, T)
        accuracies.append(f"{hits.float().mean():.3f}")
        left.plot(range(1, EPOCHS + 1), losses[name], label=name)
        right.plot(range(1, 9), hits.float().mean(0), "o-", label=f"{name}: {accuracies[-1]}")
    table.add_row("test accuracy", *accuracies)
    parameters = (sum(p.numel() for p in model.parameters()) for model in models.values())
    table.add_row("parameters", *map(str, parameters))
    Console().print(table)

    left.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
    right.set(xlabel="row", ylabel="test accuracy at this row", ylim=(0, 1))
    for ax in (left, right):
        ax.legend()
    figure.suptitle("Digits row by row, named at each row: the same model without and with a block")
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "digits_sequence.png", dpi=120)
    print(f"wrote {out / 'digits_sequence.png'}")


if __name__ == "__main__":
    main()
