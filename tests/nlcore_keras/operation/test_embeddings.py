"""Embeddings: what is pooled where, and the shares of the concatenation's logits."""

import numpy as np
import pytest
from keras import ops

from nlcore import NonLocalSpec, init_weights
from nlcore.reference.extent import fold
from nlcore.reference.pooling import max_pool
from nlcore_keras.operation.embeddings import embeddings

SIZES = (4, 4, 5)
FIELDS = [
    {},
    {"subsample": (1, 2, 2)},
    {"subsample": (1, 2, 2), "subsample_at": "input"},
    {"extent": "space", "subsample": (1, 2, 1)},
    {"extent": "time", "subsample": (2, 1, 1)},
    {"window": 2},
]


def expected(spec, weights, x):
    """theta, phi and g by the definition, in NumPy: rows of x (B, T, H, W, C)."""
    x = fold(spec, x)
    keys = max_pool(x, spec.pool)[0] if spec.subsample_at == "input" else x

    def embedded(name, values):
        y = values @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0)
        return max_pool(y, spec.pool)[0] if values is x and name != "theta" else y

    if spec.pairwise == "gaussian":
        found = x, max_pool(x, spec.pool)[0], embedded("g", keys)
    else:
        found = tuple(embedded(n, x if n == "theta" else keys) for n in ("theta", "phi", "g"))
    return [part.reshape(len(part), -1, part.shape[-1]) for part in found]


@pytest.mark.parametrize("fields", FIELDS, ids=str)
@pytest.mark.parametrize("values", [4, 3, 7])
@pytest.mark.parametrize("pairwise", ["gaussian", "dot_product", "concatenation"])
def test_agree_with_the_definition(pairwise, values, fields, tensors):
    spec = NonLocalSpec(6, 4, value_channels=values, pairwise=pairwise, bias=True, **fields)
    rng = np.random.default_rng(0)
    weights = {n: rng.normal(size=w.shape) for n, w in init_weights(spec, rng).items()}
    x = rng.normal(size=(2, *SIZES, 6))
    given = dict(zip(weights, tensors(*weights.values()), strict=True))
    found = [ops.convert_to_numpy(part) for part in embeddings(spec, given, *tensors(x))]
    theta, phi, g = expected(spec, weights, x)
    if pairwise == "concatenation":
        theta, phi = theta @ weights["f.weight"][:4], phi @ weights["f.weight"][4:]
    for part, want in zip(found, (theta, phi, g), strict=True):
        np.testing.assert_allclose(part, want, rtol=1e-11, atol=1e-12)
