"""A non-local block in a Keras model of images: digits, classified from patches of 3x3 pixels.

    python examples/digits_keras.py [--out DIR]

As digits_image.py, on the engine that Keras is configured for: positions of the model see patches,
which its answer averages. `insert` makes the same model with a block after the first ReLU, where it
starts as the identity; positions then see each other.

Needs scikit-learn, which brings the digits, matplotlib, rich and Keras with an engine.
"""

import argparse
import math
from pathlib import Path

import keras
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from nlcore_keras import insert

EPOCHS = 15
STEPS = 22  # of an epoch


def make_model() -> keras.Model:
    keras.utils.set_random_seed(0)
    layers = [keras.Input((8, 8, 1))]
    for i, size in enumerate((3, 1)):
        layers.append(keras.layers.Conv2D(16, size, padding="same"))
        layers.append(keras.layers.BatchNormalization(momentum=0.9))
        layers.append(keras.layers.ReLU(name=f"relu_{i}"))
    layers += [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10)]
    return keras.Sequential(layers)


def main() -> None:
    parser = argparse.ArgumentParser(description="Digits in Keras, with a block and without.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "output")
    out = parser.parse_args().out

    digits = load_digits()
    images = digits.images[..., None].astype("float32") / 16  # (B, 8, 8, 1)
    x, x_test, labels, labels_test = train_test_split(
        images, digits.target, test_size=450, random_state=0
    )
    makers = {
        "without": make_model,
        "with a block": lambda: insert(make_model(), {"relu_0": {"pairwise": "dot_product"}}),
    }

    losses, accuracies, parameters = {}, {}, {}
    for name, make in makers.items():
        model = make()
        model.compile(
            # down to 0, so that BN's running statistics catch up with the weights
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.005, EPOCHS * STEPS)),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        keras.utils.set_random_seed(0)  # again, for the same order of the digits
        losses[name] = model.fit(x, labels, batch_size=64, epochs=EPOCHS, verbose=0).history["loss"]
        accuracies[name] = f"{model.evaluate(x_test, labels_test, verbose=0)[1]:.3f}"
        parameters[name] = str(sum(math.prod(w.shape) for w in model.trainable_weights))

    table = Table("loss in epoch", *makers)
    for i in (0, 1, 4, 9, EPOCHS - 1):
        table.add_row(str(i + 1), *(f"{loss[i]:.3f}" for loss in losses.values()))
    table.add_section()
    table.add_row("test accuracy", *accuracies.values())
    table.add_row("parameters", *parameters.values())
    Console().print(table)

    figure, ax = plt.subplots(layout="constrained")
    for name, loss in losses.items():
        ax.plot(range(1, EPOCHS + 1), loss, label=f"{name}: test accuracy {accuracies[name]}")
    ax.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
    ax.set_title("8x8 digits from 3x3 patches, without and with a block")
    ax.legend()
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "digits_keras.png", dpi=120)
    print(f"wrote {out / 'digits_keras.png'}")


if __name__ == "__main__":
    main()
