"""Objects in the types of other packages, which are imported when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from segwright.errors import InputError

if TYPE_CHECKING:
    from segwright.objects import Object


def to_supervision(objects: Sequence[Object], shape: tuple[int, int]) -> Any:
    """``supervision.Detections``: xyxy, mask, class_id (from 0), confidence where every object has a score, data["class_name"].

    Args:
        shape: (H, W) of the photo.

    Raises:
        InputError: supervision is not installed.
    """
    try:
        from supervision import Detections
    except ImportError as error:
        raise InputError(f"supervision cannot be imported ({error}); pip install 'segwright[supervision]'") from error
    scores = [one.score for one in objects]
    return Detections(
        xyxy=np.array([one.box for one in objects], np.float32).reshape(-1, 4),
        mask=np.array([one.mask for one in objects], bool).reshape(-1, *shape),
        class_id=np.array([one.category - 1 for one in objects], int),
        confidence=None if None in scores else np.array(scores, np.float32),
        data={"class_name": np.array([one.word for one in objects], str)},
    )


def to_transformers(objects: Sequence[Object]) -> list[dict[str, Any]]:
    """What transformers' ``pipeline("image-segmentation")`` gives: a list of label, mask (a Pillow image of 0 and 255), score."""
    return [{"label": one.word, "score": one.score, "mask": Pillow.fromarray(one.mask.astype(np.uint8) * 255)} for one in objects]


def to_fiftyone(objects: Sequence[Object], labels: NDArray[np.integer], kind: str) -> Any:
    """``fiftyone.Segmentation`` of the label map for words, else ``fiftyone.Detections`` with a mask in each box.

    Raises:
        InputError: FiftyOne is not installed.
    """
    try:
        import fiftyone as fo
    except ImportError as error:
        raise InputError(f"FiftyOne cannot be imported ({error}); pip install 'segwright[fiftyone]'") from error
    if kind == "words":
        return fo.Segmentation(mask=labels.astype(np.uint8 if labels.max(initial=0) < 256 else np.uint16))
    return fo.Detections(detections=[_detection(fo, one) for one in objects])


def _detection(fo: Any, found: Object) -> Any:
    """Boxes are (x, y, width, height) in shares of the photo."""
    (height, width), (x0, y0, x1, y1) = found.mask.shape, found.box
    box = [x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height]
    return fo.Detection(label=found.word, bounding_box=box, mask=found.mask[y0:y1, x0:x1], confidence=found.score)
