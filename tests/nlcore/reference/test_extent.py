"""fold and unfold: what shares a fold is what sees each other, and unfold takes fold back."""

import numpy as np
import pytest

from nlcore import NonLocalSpec
from nlcore.reference.extent import fold, unfold

B, T, H, W, C = 2, 6, 3, 4, 5

CASES = {
    "all": ({}, (B, T, H, W, C)),
    "space": ({"extent": "space"}, (B * T, 1, H, W, C)),
    "time": ({"extent": "time"}, (B * H * W, T, 1, 1, C)),
    "window 1": ({"window": 1}, (B * T, 1, H, W, C)),
    "window 2": ({"window": 2}, (B * 3, 2, H, W, C)),
    "window 3": ({"window": 3}, (B * 2, 3, H, W, C)),
    "window T": ({"window": T}, (B, T, H, W, C)),
}

SEES = {  # whether position (t, h, w) sees (u, k, m) of the same clip
    "all": lambda t, h, w, u, k, m: True,
    "space": lambda t, h, w, u, k, m: t == u,
    "time": lambda t, h, w, u, k, m: (h, w) == (k, m),
    "window 1": lambda t, h, w, u, k, m: t == u,
    "window 2": lambda t, h, w, u, k, m: t // 2 == u // 2,
    "window 3": lambda t, h, w, u, k, m: t // 3 == u // 3,
    "window T": lambda t, h, w, u, k, m: True,
}


@pytest.mark.parametrize("case", CASES)
def test_shape(case):
    fields, shape = CASES[case]
    assert fold(NonLocalSpec(C, **fields), np.zeros((B, T, H, W, C))).shape == shape


@pytest.mark.parametrize("case", CASES)
def test_unfold_is_the_inverse(case):
    spec = NonLocalSpec(C, **CASES[case][0])
    x = np.arange(B * T * H * W * C).reshape(B, T, H, W, C)
    np.testing.assert_array_equal(unfold(spec, fold(spec, x), x.shape), x)


@pytest.mark.parametrize("case", CASES)
def test_what_shares_a_fold(case):
    spec = NonLocalSpec(1, **CASES[case][0])
    positions = np.arange(B * T * H * W).reshape(B, T, H, W, 1)
    folded = fold(spec, positions)
    group = np.empty(positions.size, int)  # position -> its fold
    group[folded.reshape(len(folded), -1)] = np.arange(len(folded))[:, None]
    index = list(np.ndindex(B, T, H, W))
    for i, (b, *here) in enumerate(index):
        for j, (a, *there) in enumerate(index):
            assert (group[i] == group[j]) == (b == a and SEES[case](*here, *there))


@pytest.mark.parametrize("case", CASES)
def test_channels_stay_together_and_positions_stay_in_order(case):
    spec = NonLocalSpec(C, **CASES[case][0])
    position = np.arange(B * T * H * W).reshape(B, T, H, W, 1)
    folded = fold(spec, position * C + np.arange(C))  # (B', T', H', W', C)
    np.testing.assert_array_equal(folded // C, np.broadcast_to(folded[..., :1] // C, folded.shape))
    np.testing.assert_array_equal(folded % C, np.broadcast_to(np.arange(C), folded.shape))
    # Row-major order inside a fold decides which position wins a max-pool tie.
    assert (np.diff(folded[..., 0].reshape(len(folded), -1), axis=1) > 0).all()


@pytest.mark.parametrize(
    ("ndim", "shape"), [(1, (B, T, C)), (2, (B, H, W, C)), (3, (B, T, H, W, C))]
)
def test_extent_all_returns_x_itself(ndim, shape):
    spec = NonLocalSpec(C, ndim=ndim)
    x = np.zeros(shape)
    assert fold(spec, x) is x
    assert unfold(spec, x, x.shape).shape == x.shape
