"""Folding positions into the batch, as the reference does."""

import numpy as np
import pytest
from keras import ops

from nlcore import NonLocalSpec
from nlcore.reference.extent import fold as reference_fold
from nlcore_keras.operation.extent import fold, unfold


@pytest.mark.parametrize("fields", [{"extent": "space"}, {"extent": "time"}, {"window": 2}, {}])
def test_folds_and_back(fields, tensors):
    spec = NonLocalSpec(3, **fields)
    x = np.arange(2 * 4 * 3 * 5 * 3, dtype=float).reshape(2, 4, 3, 5, 3)
    folded = fold(spec, *tensors(x))
    np.testing.assert_array_equal(ops.convert_to_numpy(folded), reference_fold(spec, x))
    rows = ops.reshape(folded, (folded.shape[0], -1, 3))
    np.testing.assert_array_equal(ops.convert_to_numpy(unfold(spec, rows, x.shape)), x)
