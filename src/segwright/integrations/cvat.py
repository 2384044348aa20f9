"""An auto-annotation function for CVAT: ``cvat-cli task auto-annotate ID --function-module segwright.integrations.cvat``.

CVAT's own driver calls ``create`` with what ``-p NAME=TYPE:VALUE`` gives, and the result's ``detect`` for each photo of the task.
Labels are matched by name, so a task needs labels called like the words. Protocol: cvat-sdk 2.80, auto_annotation/interface.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from segwright.errors import InputError
from segwright.methods import load_method
from segwright.methods.base import Method
from segwright.objects import MIN_AREA, Object, check_kind
from segwright.runs.exports.objects import SIMPLIFY
from segwright.runs.exports.shapes import outlines
from segwright.words.vocabulary import parse_words

try:
    import cvat_sdk.auto_annotation as aa
    from cvat_sdk.masks import encode_mask
except ImportError as error:
    raise InputError(
        f"CVAT's functions need cvat-sdk, which cannot be imported ({error}); pip install 'segwright[cvat]'"
    ) from error


class Function:
    """CVAT's detection function: the words, one label each, with a method behind them."""

    def __init__(self, method: Method, words: Sequence[str], objects: str = "words", min_area: float = MIN_AREA) -> None:
        """Serve a method that is loaded already.

        Args:
            words: as methods take them; a word of several names is a label of its first.
            objects: what one shape is, as ``Segmentation.objects`` takes it.
            min_area: smaller connected pieces take the label around them; below 1 a share of the photo.
        """
        self.method, self.words, self.objects, self.min_area = method, tuple(words), check_kind(objects), min_area
        self.method.prepare(self.words)

    @property
    def spec(self) -> Any:
        """The labels that CVAT matches by name; their numbers are the words' places, from 1."""
        return aa.DetectionFunctionSpec(labels=[aa.label_spec(str(word), i) for i, word in enumerate(self.words, 1)])

    def detect(self, context: Any, image: Any) -> list[Any]:
        """The shapes of one photo.

        Args:
            context: CVAT's: ``conf_threshold`` leaves out objects that are less sure, ``conv_mask_to_poly`` wants polygons.
            image: a Pillow image.

        Returns:
            cvat_sdk.models.LabeledShapeRequest each; an object's polygons share a group.
        """
        found = self.method(image, self.words).objects(self.objects, self.min_area)
        least = context.conf_threshold
        kept = [one for one in found if least is None or one.score is None or one.score >= least]
        if not context.conv_mask_to_poly:
            return [aa.mask(one.category, encode_mask(np.asarray(one.mask), list(one.box))) for one in kept]
        return [shape for group, one in enumerate(kept, 1) for shape in _polygons(one, group)]


def create(
    words: str,
    method: str | None = None,
    preset: str | None = None,
    device: str | None = None,
    dtype: str = "float32",
    *,
    objects: str = "words",
    min_area: float = MIN_AREA,
    **settings: Any,
) -> Function:
    """What ``cvat-cli`` calls.

    Args:
        words: "dog; hound, red car": commas part words, semicolons synonyms.
        method: any of segwright's, by name; None: the default one.
        preset: as for ``segwright.load``.
        device: as for ``segwright.load``.
        dtype: as for ``segwright.load``.
        objects: "words", "parts" or "instances".
        min_area: as ``Function``.
        settings: the method's.

    Raises:
        InputError: unusable words, method or settings.
        WeightsError: networks that cannot be loaded.
    """
    from segwright.methods import DEFAULT

    loaded = load_method(method or DEFAULT, preset, device, dtype, **settings)
    return Function(loaded, parse_words(words), objects, min_area)


def _polygons(found: Object, group: int) -> list[Any]:
    pieces = outlines(found.mask, SIMPLIFY)
    shared = {"group": group} if len(pieces) > 1 else {}
    return [aa.polygon(found.category, points.astype(float).ravel().tolist(), **shared) for points in pieces]
