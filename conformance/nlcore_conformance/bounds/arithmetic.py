"""Numbers with a bound on the error that an honest implementation may make in them.

Every rule below is a first-order running error analysis (Higham 2002, "Accuracy and Stability of
Numerical Algorithms", ch. 3): the error that the operands bring, plus the rounding of the
operation itself. A sum of n terms has the probabilistic factor of Higham and Mary 2019, "A new
approach to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41(5),
doi 10.1137/18M1226312, where it is the smaller: for independent roundings of mean zero each
chain of n of them is within exp(LAMBDA sqrt(n) u + n u^2 / (1 - u)) - 1 with probability
1 - 2 exp(-LAMBDA^2 (1 - u)^2 / 2), that is 1 - 3.05e-8; a sum of n terms has n such chains.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nlcore_conformance.backend.formats import FORMATS, default_sums

#: Confidence of the probabilistic factor, see above.
LAMBDA = 6.0
#: Rounding errors, in units of the sums' dtype, of a library's exp relative to its result.
EXP_UNITS = 4.0


@dataclass(frozen=True)
class Bounded:
    """Exact values, a bound on the error of the computed values, and the size of their terms.

    `magnitude` is the sum of the absolute values of the terms that a chain of linear operations
    adds up, so that the bound covers every association: (theta phi^T) g and theta (phi^T g).
    """

    value: np.ndarray
    error: np.ndarray
    magnitude: np.ndarray

    @staticmethod
    def exact(value: np.ndarray | np.float64) -> Bounded:
        """Values without error, like the inputs."""
        value = np.asarray(value)
        return Bounded(value, np.zeros_like(value), np.abs(value))

    def settled(self) -> Bounded:
        """The same number after it is stored: the size of its terms is its own size."""
        return Bounded(self.value, self.error, np.abs(self.value) + self.error)

    def reshape(self, *shape: int) -> Bounded:
        return self.apply(lambda a: a.reshape(*shape))

    def apply(self, move) -> Bounded:
        """Move the elements of all three arrays in the same way."""
        return Bounded(move(self.value), move(self.error), move(self.magnitude))

    @property
    def T(self) -> Bounded:
        return self.apply(lambda a: a.swapaxes(-1, -2))


@dataclass(frozen=True)
class Arithmetic:
    """The arithmetic that an implementation may use.

    Attributes
    ----------
    unit, tiny, huge : float
        Unit roundoff, error of underflow and largest finite number of the dtype in which stages
        are stored. float16 underflows gradually; the other dtypes may flush to zero.
    sum_unit, sum_tiny, sum_huge : float
        The same for running sums, for the numbers between a logit and its exp, and for f.
    compensated : bool
        Whether sums are rounded once, as in the reference itself.
    independent : bool
        Whether roundings are assumed to be independent. Those of a sum of equal terms are not.
    """

    unit: float
    tiny: float
    huge: float
    sum_unit: float
    sum_tiny: float
    sum_huge: float
    compensated: bool = False
    independent: bool = True

    @property
    def wide(self) -> Arithmetic:
        """The same for numbers that no stage stores: their range is that of the sums."""
        return replace(self, huge=self.sum_huge)

    def given(self, value: np.ndarray) -> Bounded:
        """An argument. It is exact, but subnormal numbers may be flushed to zero."""
        size = np.abs(value)
        return Bounded(value, np.where(size < self.tiny, size, 0.0), size)

    def gamma(self, terms: int) -> float:
        """Relative error of a sum of products, against the sum of their absolute values."""
        if self.compensated:
            return self.sum_unit
        u, n = self.sum_unit, terms + 2
        worst = n * u / (1 - n * u) if n * u < 1 else np.inf
        if not self.independent:
            return worst
        return min(worst, float(np.expm1(LAMBDA * np.sqrt(n) * u + n * u * u / (1 - u))))

    def stored(self, x: Bounded, roundings: float = 1.0) -> Bounded:
        """x rounded to the dtype; where it may be beyond `huge`, the error is unbounded."""
        size = np.abs(x.value) + x.error
        error = x.error + np.where(size > 0, roundings * (self.unit * size + self.tiny), 0.0)
        error = np.where(size + error > self.huge, np.inf, error)
        return Bounded(x.value, error, x.magnitude)

    def add(self, x: Bounded, y: Bounded) -> Bounded:
        return self.stored(Bounded(x.value + y.value, x.error + y.error, x.magnitude + y.magnitude))

    def total(self, *terms: Bounded) -> Bounded:
        """The sum of a few arrays, added in any order: each addition rounds a partial sum.

        Where a partial sum may be beyond `huge`, the error is unbounded.
        """
        value, error, magnitude = terms[0].value, terms[0].error, terms[0].magnitude
        for t in terms[1:]:
            value, error, magnitude = value + t.value, error + t.error, magnitude + t.magnitude
        size = sum(np.abs(t.value) + t.error for t in terms)
        above = sum(np.maximum(t.value + t.error, 0) for t in terms)
        below = sum(np.maximum(t.error - t.value, 0) for t in terms)
        # the last rounding is stored's
        rounding = (len(terms) - 2) * (self.unit * size + self.sum_unit * magnitude)
        error = np.where(np.maximum(above, below) > self.huge, np.inf, error + rounding)
        return self.stored(Bounded(value, error, magnitude))

    def subtract(self, x: Bounded, y: Bounded) -> Bounded:
        return self.add(x, Bounded(-y.value, y.error, y.magnitude))

    def multiply(self, x: Bounded, y: Bounded) -> Bounded:
        error = np.abs(x.value) * y.error + x.error * np.abs(y.value) + x.error * y.error
        return self.stored(Bounded(x.value * y.value, error, x.magnitude * y.magnitude))

    def divide(self, x: Bounded, y: Bounded) -> Bounded:
        """x / y, and 0 where y is certainly 0; where y may be 0 or not, the error is unbounded."""
        zero = (y.value == 0) & (y.error == 0)
        least = np.where(np.abs(y.value) > y.error, np.abs(y.value) - y.error, np.nan)
        quotient = x.value / np.where(y.value == 0, np.inf, y.value)
        error = (x.error + np.abs(quotient) * y.error) / least
        magnitude = x.magnitude / least
        return self.stored(
            Bounded(
                np.where(zero, 0.0, quotient),
                np.where(zero, 0.0, np.nan_to_num(error, nan=np.inf, posinf=np.inf)),
                np.where(zero, 0.0, np.nan_to_num(magnitude, nan=np.inf, posinf=np.inf)),
            )
        )

    def scale(self, x: Bounded, factor: float) -> Bounded:
        """x times an exact factor."""
        return self.multiply(x, Bounded.exact(np.float64(factor)))

    def matmul(self, x: Bounded, y: Bounded) -> Bounded:
        """x (..., P, K) @ y (..., K, Q)."""
        terms = x.value.shape[-1]
        size, size_y = np.abs(x.value) + x.error, np.abs(y.value)
        magnitude = x.magnitude @ y.magnitude
        underflow = np.where(magnitude > 0, terms * self.sum_tiny, 0.0)
        error = self.gamma(terms) * magnitude + underflow
        if y.error.any():  # weights and inputs carry none
            error = error + size @ y.error
        if x.error.any():
            error = error + x.error @ size_y
        error = np.where(magnitude > self.sum_huge, np.inf, error)  # as a partial sum may be
        return self.stored(Bounded(x.value @ y.value, error, magnitude))

    def sum(self, x: Bounded, axis: int | tuple[int, ...]) -> Bounded:
        """Sum over `axis`, which stays with length 1."""
        value = x.value.sum(axis, keepdims=True)
        magnitude = x.magnitude.sum(axis, keepdims=True)
        terms = x.value.size // value.size
        error = x.error.sum(axis, keepdims=True) + self.gamma(terms) * magnitude
        error = np.where(magnitude > self.sum_huge, np.inf, error)  # as a partial sum may be
        return self.stored(Bounded(value, error, magnitude))

    def exp(self, logit: Bounded, shift: np.ndarray | float) -> Bounded:
        """exp(logit - shift), where `shift` is any number of the row, which later cancels.

        The logit may be multiplied by log2(e), a rounded constant, before or after the shift is
        subtracted: three roundings of the larger number. The difference, the result, and the
        result over C may be stored.
        """
        exponent = logit.value - shift
        larger = np.maximum(np.abs(logit.value), np.abs(exponent))
        error = logit.error + self.unit * np.abs(exponent) + 3 * self.sum_unit * larger
        value = np.exp(exponent)
        bound = value * np.expm1(error) + EXP_UNITS * self.sum_unit * value
        # stored() adds rounding, underflow and overflow
        return self.stored(Bounded(value, bound, value), 2).settled()

    def relu(self, x: Bounded) -> Bounded:
        """max(x, 0). Terms that are certainly negative contribute nothing, not even a rounding."""
        off = x.value + x.error <= 0
        error = np.where(x.value > 0, x.error, np.maximum(x.value + x.error, 0.0))
        return Bounded(np.maximum(x.value, 0.0), error, np.where(off, 0.0, x.magnitude))

    def step(self, x: Bounded) -> Bounded:
        """1 where x > 0, else 0: the ReLU's derivative. It is in doubt within x's own error."""
        certain = (np.abs(x.value) > x.error) | ((x.value == 0) & (x.error == 0))
        doubtful = ~certain  # NaN too
        value = np.where(x.value > 0, 1.0, 0.0)
        return Bounded(value, np.where(doubtful, 1.0, 0.0), np.where(doubtful, 1.0, value))

    def rsqrt(self, x: Bounded, floor: float = 0.0) -> Bounded:
        """1 / sqrt(x) for x > 0, computed from no less than `floor`.

        Three roundings are granted: the root's, the division's, and one more.
        """
        least = np.maximum(x.value - x.error, floor)
        root, root_least = np.sqrt(x.value), np.sqrt(least)
        value = 1 / root
        gap = np.minimum(x.error, x.value - floor)  # x - least, which would cancel
        error = gap / (root * root_least * (root + root_least))  # 1 / sqrt(least) - value
        return self.stored(Bounded(value, error, value), 3).settled()


def arithmetic(
    dtype: str, sums: str | None = None, compensated: bool = False, independent: bool = True
) -> Arithmetic:
    """The arithmetic of a dtype whose sums have dtype `sums`.

    By default sums of the half precisions are in float32.
    """
    sums = sums or default_sums(dtype)
    return Arithmetic(*FORMATS[dtype], *FORMATS[sums], compensated, independent)
