"""Isotonic regression of a table that increases along both axes: its least-squares fit that does, too."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

# Sum of squared changes of the increments in a round at which the projections have converged, in squared scales of the values.
_TOLERANCE = 1e-22
# A table of 6 x 5 takes some hundred rounds.
_ROUNDS = 100_000


def isotonic(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The table nearest to ``values`` in squares that decreases neither along rows nor along columns.

    Tables that do not decrease along rows are a convex cone, those along columns another, and onto each one projects by the
    one-dimensional regression of every row, or column (Pool Adjacent Violators). Dykstra's alternating projections (Boyle and
    Dykstra 1986) come to the point of both cones that is nearest; they end by the criterion of Birgin and Raydan (SIAM Journal on
    Scientific Computing 26, 2005), for they may stand still for a while before.

    Args:
        values: finite, float (rows, columns).

    Raises:
        RuntimeError: if they do not converge.
    """
    values = np.asarray(values, np.float64)
    scale = float(np.ptp(values)) or 1.0
    fitted = values / scale
    along_rows, along_columns = np.zeros_like(fitted), np.zeros_like(fitted)
    for _ in range(_ROUNDS):
        before = along_rows, along_columns
        given = fitted + along_rows
        fitted = _increasing(given)
        along_rows = given - fitted
        given = fitted + along_columns
        fitted = _increasing(given.T).T
        along_columns = given - fitted
        if np.square(along_rows - before[0]).sum() + np.square(along_columns - before[1]).sum() <= _TOLERANCE:
            # What rounding has left.
            return np.maximum.accumulate(np.maximum.accumulate(fitted, axis=0), axis=1) * scale
    raise RuntimeError(f"isotonic regression of a table of {values.shape} has not converged in {_ROUNDS} rounds")


def _increasing(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each row's nearest one that does not decrease."""
    return np.array([isotonic_regression(row).x for row in values])
