"""Parts of a few pixels in a label map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from skimage.measure import label as connected


def without_specks(labels: NDArray[np.integer], smallest: int) -> NDArray[np.int64]:
    """(H, W) labels in which every part of fewer than ``smallest`` pixels has the label of the nearest larger part.

    A part is what hangs together by sides or corners and has one label, background's too; where all are that small, none goes.
    """
    given = np.asarray(labels, np.int64)
    parts = connected(given, connectivity=2, background=-1)
    small = np.bincount(parts.ravel())[parts] < smallest
    if not small.any() or small.all():
        return given
    rows, columns = distance_transform_edt(small, return_distances=False, return_indices=True)
    return np.asarray(given[rows, columns])
