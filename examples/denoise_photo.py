"""Denoise a photograph with non-local means, and write the three pictures side by side.

    python examples/denoise_photo.py [--out DIR]

Needs scikit-image and matplotlib.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from skimage import data
from skimage.metrics import peak_signal_noise_ratio

from nlcore import nl_means

SIGMA = 0.08  # of the noise, on a scale where black is 0 and white is 1


def main() -> None:
    parser = argparse.ArgumentParser(description="Denoise a photograph with non-local means.")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).parent / "output",
        help="folder for the picture (default: %(default)s)",
    )
    out = parser.parse_args().out

    original = data.camera() / 255.0  # (H, W)
    noisy = original + SIGMA * np.random.default_rng(0).standard_normal(original.shape)
    denoised = nl_means(noisy, patch_size=5, patch_distance=10, h=0.6 * SIGMA, sigma=SIGMA)

    before = peak_signal_noise_ratio(original, noisy, data_range=1.0)
    after = peak_signal_noise_ratio(original, denoised, data_range=1.0)
    print(f"PSNR: noisy {before:.2f} dB, denoised {after:.2f} dB")

    pictures = {
        "original": original,
        f"noisy: PSNR {before:.2f} dB": noisy,
        f"non-local means: PSNR {after:.2f} dB": denoised,
    }
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.75), layout="constrained")
    for ax, (title, picture) in zip(axes, pictures.items(), strict=True):
        ax.imshow(picture, cmap="gray", vmin=0.0, vmax=1.0)
        ax.set_title(title)
        ax.axis("off")
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "denoise_photo.png", dpi=120, bbox_inches="tight", pad_inches=0.08)
    print(f"wrote {out / 'denoise_photo.png'}")


if __name__ == "__main__":
    main()
