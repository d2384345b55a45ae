"""nl_means against its definition as a literal double loop, and against scikit-image."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import nlcore.non_local_means.filter
from nlcore.non_local_means.filter import nl_means
from nlcore.non_local_means.vectorized import weigh

EPS = np.finfo(np.float64).eps


def picture(*shape, seed=0):
    return np.random.default_rng(seed).random(shape)


def gaussian(size, n):
    """g(o) of patch_weights="gaussian", over the n-D patch."""
    o = np.arange(size) - size // 2
    square = sum(np.meshgrid(*[o**2] * n, indexing="ij"))
    g = np.exp(-square / (2.0 * max((size - 1) / 4, 0.25) ** 2))
    return g / g.sum()


def uniform(size, n):
    return np.full((size,) * n, 1.0 / size**n)


def exact_weight(terms):
    """exp(-max(sum, 0)) of the terms of a distance."""
    return np.exp(-max(terms.sum(), 0.0)) if not np.isnan(terms.sum()) else np.nan


def literal(image, g, distance, h, sigma=0.0, weigh=exact_weight, beyond=0):
    """The definition, for image (*positions, C): all pixels p, all q, patches cut out whole.

    beyond: how far q goes on into the mirror image beyond the border.
    """
    n, size = g.ndim, g.shape[0]
    shape, rim = image.shape[:-1], size // 2 + beyond
    padded = np.pad(image, [(rim, rim)] * n + [(0, 0)], mode="reflect")

    def patch(p):
        return padded[tuple(slice(a + beyond, a + beyond + size) for a in p)]

    out = np.empty(image.shape)
    for p in np.ndindex(shape):
        reach = [
            range(max(a - distance, -beyond), min(a + distance, k - 1 + beyond) + 1)
            for a, k in zip(p, shape, strict=True)
        ]
        weights, values = [], []
        for q in itertools.product(*reach):
            d2 = ((patch(p) - patch(q)) ** 2).mean(-1) - 2 * sigma**2
            weights.append(weigh(g * d2 / h**2))
            values.append(padded[tuple(a + rim for a in q)])
        out[p] = np.average(values, axis=0, weights=weights)
    return out


def tolerance(image, size, distance, n):
    """A bound on the rounding of both.

    A weight exp(-d) errs by some (k d + 4) eps of itself, k the length of the sums in d, and
    d exp(-d) < 1/2. N of them, over weights whose sum is at least the 1 of q = p, move the mean
    by at most their sum times the range of the values; the mean's own sum errs by N eps.
    """
    k, count = n * size + image.shape[-1] + 4, (2 * distance + 1) ** n
    return count * (k / 2 + 5) * EPS * max(np.ptp(image), np.abs(image).max())


CASES = {  # positions, channels, patch_size, patch_distance
    "grey": ((9, 11), 1, 3, 4),
    "grey, patch 1": ((6, 5), 1, 1, 2),
    "grey, patch 5": ((8, 9), 1, 5, 3),
    "grey, patch 7": ((8, 9), 1, 7, 2),
    "patch and reach beyond the image": ((4, 3), 1, 9, 6),
    "one line": ((1, 12), 1, 3, 2),
    "distance 0": ((5, 6), 1, 3, 0),
    "colour": ((7, 8), 3, 3, 3),
    "volume": ((5, 4, 6), 1, 3, 2),
    "volume, two channels": ((4, 5, 4), 2, 3, 1),
}


@pytest.mark.parametrize("kind", ["uniform", "gaussian"])
@pytest.mark.parametrize("sigma", [0.0, 0.2])
@pytest.mark.parametrize("case", CASES)
def test_is_its_definition(case, sigma, kind):
    shape, channels, size, distance = CASES[case]
    image = picture(*shape, channels)
    g = {"uniform": uniform, "gaussian": gaussian}[kind](size, len(shape))
    expected = literal(image, g, distance, 0.3, sigma)
    options = dict(patch_size=size, patch_distance=distance, h=0.3, sigma=sigma, patch_weights=kind)
    if channels == 1:
        got = nl_means(image[..., 0], **options)[..., None]
    else:
        got = nl_means(image, channel_axis=-1, **options)
        first = nl_means(np.moveaxis(image, -1, 0), channel_axis=0, **options)
        np.testing.assert_array_equal(np.moveaxis(first, 0, -1), got)
    assert got.shape == image.shape
    atol = tolerance(image, size, distance, len(shape))
    np.testing.assert_allclose(got, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("shape", [(13, 17), (6, 7, 9)])
def test_tiles_do_not_show(monkeypatch, shape):
    image = picture(*shape)
    options = dict(patch_size=3, patch_distance=3, h=0.2, sigma=0.1)
    whole = nl_means(image, **options)
    monkeypatch.setattr(nlcore.non_local_means.filter, "TILE_2D", (1, 4, 5))
    monkeypatch.setattr(nlcore.non_local_means.filter, "TILE_3D", (3, 4, 5))
    atol = tolerance(image[..., None], 3, 3, len(shape))
    np.testing.assert_allclose(nl_means(image, **options), whole, rtol=0, atol=atol)


def test_exp_is_within_its_bound():
    """Against NumPy's, itself within 1 ulp (up to 2^-52 of the value)."""
    x = np.concatenate([np.linspace(0, 3, 4001), np.linspace(3, 700, 4001)])
    got = x.copy()
    weigh(got, 1.0, 0.0)
    np.testing.assert_allclose(got, np.exp(-x), rtol=5e-16 + EPS, atol=0)
    ends = np.array([-1.0, 0.0, 701.0, np.inf, np.nan])
    weigh(ends, 1.0, 0.0)
    assert ends[0] == ends[1] == 1.0 and 0 < ends[2] == ends[3] < 1e-300 and np.isnan(ends[4])


@pytest.mark.parametrize("shape", [(150, 260), (17, 20, 70)])
def test_same_bits_with_one_and_three_threads(shape, threads):
    image = picture(*shape)
    results = []
    for count in (1, 3):
        threads(count)
        results.append(nl_means(image, patch_size=3, patch_distance=2))
    np.testing.assert_array_equal(*results)


def test_float32_comes_back_as_float32_of_the_float64_result():
    image = picture(9, 8).astype(np.float32)
    got = nl_means(image, patch_size=3, patch_distance=2)
    assert got.dtype == np.float32
    exact = nl_means(image.astype(np.float64), patch_size=3, patch_distance=2)
    np.testing.assert_array_equal(got, exact.astype(np.float32))


def test_any_layout_and_the_input_stays():
    image = picture(12, 10)
    kept = image.copy()
    got = nl_means(image, patch_size=3, patch_distance=2)
    np.testing.assert_array_equal(image, kept)
    for other in (np.asfortranarray(image), np.repeat(image, 2, 1)[:, ::2], image.tolist()):
        np.testing.assert_array_equal(nl_means(other, patch_size=3, patch_distance=2), got)


@pytest.mark.parametrize("kind", ["uniform", "gaussian"])
def test_constant_image_and_sigma_above_all_distances(kind):
    np.testing.assert_allclose(
        nl_means(np.full((9, 9), 0.3), patch_weights=kind), 0.3, rtol=100 * EPS
    )
    image = picture(8, 7)  # all weights 1: the mean of the window, here of the image
    got = nl_means(image, sigma=2.0, patch_weights=kind)
    np.testing.assert_allclose(got, image.mean(), rtol=100 * EPS)


@pytest.mark.parametrize("kind", ["uniform", "gaussian"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_reach(kind, bad):
    image = picture(20, 21)
    options = dict(patch_size=3, patch_distance=2, patch_weights=kind)
    clean = nl_means(image, **options)
    image[4, 5] = bad
    got = nl_means(image, **options)
    near = np.zeros(image.shape, bool)
    near[1:8, 2:9] = True  # patch radius 1 + distance 2
    np.testing.assert_array_equal(got[~near], clean[~near])
    # an infinite pixel spoils patches, but is itself far from all: who sees only it may stay
    spoilt = ~np.isfinite(got)
    assert spoilt[4, 5] and (np.isinf(bad) or spoilt[near].all())


def test_great_contrast_does_not_disturb_the_small():
    image = 1e-3 * picture(20, 24)
    options = dict(patch_size=3, patch_distance=2, h=1e-3)
    clean = nl_means(image, **options)
    image[:, 12:] += 1e9
    np.testing.assert_array_equal(nl_means(image, **options)[:, :9], clean[:, :9])


# scikit-image 0.26. Its exp is N. Schraudolph's (Neural Computation 11, 1999, doi
# 10.1162/089976699300016467) with c = 60801, linear between powers of two.


def schraudolph(y):
    high = int(2**20 / np.log(2) * y) + 1023 * 2**20 - 60801
    return np.array(high << 32, np.int64).view(np.float64)[()]


def slow_weight(terms):
    """0 where a partial sum over the patch's first rows (planes) is over 5."""
    partial = np.cumsum(terms.reshape(len(terms), -1).sum(1))
    return 0.0 if (partial[:-1] > 5.0).any() else schraudolph(-max(partial[-1], 0.0))


def fast_weight(terms):
    """Without the patch's first row and column (plane), and 0 over 5."""
    distance = max(terms[(slice(1, None),) * terms.ndim].sum(), 0.0)
    return 0.0 if distance > 5.0 else schraudolph(-distance)


@pytest.mark.parametrize("shape", [(10, 9), (4, 5, 6)])
@pytest.mark.parametrize("sigma", [0.0, 0.1])
@pytest.mark.parametrize("fast", [False, True])
def test_the_named_differences_from_scikit_image_are_all(shape, sigma, fast):
    """The definition with exactly those differences is scikit-image's result, to rounding."""
    restoration = pytest.importorskip("skimage.restoration")
    image, n = picture(*shape), len(shape)
    if fast:
        changes = dict(weigh=fast_weight, beyond=2)
    else:
        changes = dict(weigh=slow_weight)
    g = uniform(3, n) if fast else gaussian(3, n)
    expected = literal(image[..., None], g, 2, 0.2, sigma, **changes)[..., 0]
    options = dict(patch_size=3, patch_distance=2, h=0.2, sigma=sigma)
    got = restoration.denoise_nl_means(image, fast_mode=fast, **options)
    # its exp is cut to steps of 2^-20: where a sum rounds across one, a weight jumps by that
    np.testing.assert_allclose(got, expected, rtol=0, atol=2.0**-19)


@pytest.mark.parametrize("shape, axis", [((30, 33), None), ((20, 21, 3), -1), ((8, 9, 10), None)])
@pytest.mark.parametrize("sigma", [0.0, 0.1])
def test_gaussian_is_scikit_images_slow_mode_but_for_its_exp(shape, axis, sigma):
    """With h so large that no distance is over 5, only its exp differs.

    Weights off by factors in [a, b] move a mean by at most (sqrt b - sqrt a) / (sqrt b + sqrt a)
    of the range of the values, reached with two values. For Schraudolph's exp and c = 60801 /
    2^20, 2^n (1 + m - c) for 2^(n + m): a = 2^-c at m = c, and b = (1 + m - c) / 2^m where that
    is largest, at 1 + m - c = 1 / ln 2.
    """
    restoration = pytest.importorskip("skimage.restoration")
    image = picture(*shape)
    options = dict(patch_size=5, patch_distance=3, h=0.5, sigma=sigma, channel_axis=axis)
    c = 60801 / 2**20
    m = 1 / np.log(2) - 1 + c
    a, b = 2**-c, (1 + m - c) / 2**m
    bound = (np.sqrt(b) - np.sqrt(a)) / (np.sqrt(b) + np.sqrt(a)) * np.ptp(image)
    assert 0.014 < bound < 0.015  # against values whose standard deviation is 0.29
    got = nl_means(image, patch_weights="gaussian", **options)
    theirs = restoration.denoise_nl_means(image, fast_mode=False, **options)
    np.testing.assert_allclose(got, theirs, rtol=0, atol=bound)


BAD = [
    (dict(image=np.zeros((4, 4), np.uint8)), TypeError, "float32 or float64 .*; received uint8"),
    (dict(image=np.zeros((4, 4), complex)), TypeError, "received complex128"),
    (dict(image=np.zeros(4)), ValueError, r"received shape \(4,\)"),
    (dict(image=np.zeros((2, 2, 2, 2))), ValueError, r"received shape \(2, 2, 2, 2\)"),
    (dict(channel_axis=1), ValueError, r"received shape \(5, 6\) and channel_axis=1"),
    (dict(image=np.zeros((0, 3))), ValueError, r"size 0; received shape \(0, 3\)"),
    (dict(image=np.zeros((3, 3, 0)), channel_axis=2), ValueError, "size 0"),
    (dict(channel_axis=2), ValueError, r"\[-2, 2\) for shape \(5, 6\); received 2"),
    (dict(channel_axis=-3), ValueError, "received -3"),
    (dict(channel_axis=1.0), TypeError, "channel_axis must be an int or None; received 1.0"),
    (dict(patch_size=0), ValueError, "patch_size must be at least 1; received 0"),
    (dict(patch_size=6), ValueError, "patch_size must be odd .* received 6"),
    (dict(patch_size=7.0), TypeError, "patch_size must be an int; received 7.0"),
    (dict(patch_size=True), TypeError, "patch_size must be an int; received True"),
    (dict(patch_distance=-1), ValueError, "patch_distance must be at least 0; received -1"),
    (dict(patch_distance=2.5), TypeError, "patch_distance must be an int; received 2.5"),
    (dict(h=0.0), ValueError, "h must be .* received 0.0"),
    (dict(h=-0.1), ValueError, "h must be .* received -0.1"),
    (dict(h=np.nan), ValueError, "h must be .* received nan"),
    (dict(h=np.inf), ValueError, "h must be .* received inf"),
    (dict(h="0.1"), TypeError, "h must be a number; received '0.1'"),
    (dict(sigma=-1.0), ValueError, "sigma must be .* received -1.0"),
    (dict(sigma=np.nan), ValueError, "sigma must be .* received nan"),
    (dict(sigma=None), TypeError, "sigma must be a number; received None"),
    (dict(patch_weights="box"), ValueError, "patch_weights must be one of .* received 'box'"),
]


@pytest.mark.parametrize("change, error, words", BAD, ids=lambda v: v if type(v) is str else None)
def test_bad_input(change, error, words):
    arguments = dict(image=np.zeros((5, 6))) | change
    with pytest.raises(error, match=words):
        nl_means(**arguments)
