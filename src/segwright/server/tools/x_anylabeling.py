"""X-AnyLabeling's remote server, at /x-anylabeling: its list of models, and predictions as polygons.

Written from the protocol's description: GET /v1/models, POST /v1/predict, the header ``Token``. Models are segwright's methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from segwright.errors import InputError
from segwright.methods import DEFAULT, METHODS
from segwright.objects import Object
from segwright.runs.exports.objects import SIMPLIFY
from segwright.runs.exports.shapes import outlines
from segwright.server.tools.asgi import FailureError, application
from segwright.server.tools.asking import Ask, Segmenter, plain_score
from segwright.untrusted import decode
from segwright.words.vocabulary import parse_words

PATH = "/x-anylabeling"
PREFIX = "segwright-"
WIDGETS = (
    {"name": "edit_text", "value": None},
    {"name": "button_send", "value": None},
    {"name": "edit_conf", "value": 0.0},
    {"name": "input_conf", "value": None},
    {"name": "toggle_preserve_existing_annotations", "value": True},
)


@dataclass(frozen=True)
class Params:
    """What a model may be told, as far as it is read.

    Attributes:
        text_prompt: "dog; hound, red car".
        conf_threshold: objects with a lower score are left out.
        epsilon_factor: how far a polygon may lie from the mask's edge, in shares of its length; None: 0.4 pixels.
        objects: "words", "parts" or "instances"; ours, clients of X-AnyLabeling do not send it.
    """

    text_prompt: str | None = None
    conf_threshold: float | None = None
    epsilon_factor: float | None = None
    objects: str = "parts"


@dataclass(frozen=True)
class Predict:
    """What /v1/predict is sent."""

    model: str
    image: str
    params: Params = field(default_factory=Params)


@dataclass
class Remote:
    """The protocol's calls."""

    segment: Segmenter

    def models(self, _body: bytes) -> dict[str, Any]:
        names = sorted(METHODS, key=lambda name: name != DEFAULT)
        return {"success": True, "data": {f"{PREFIX}{name}": _model(name) for name in names}}

    def health(self, _body: bytes) -> dict[str, Any]:
        return {"success": True, "status": "healthy", "models_loaded": len(METHODS)}

    def predict(self, body: bytes) -> dict[str, Any]:
        """The shapes of one picture.

        Raises:
            FailureError: 404: no such model.
            InputError: a picture, words or a threshold that cannot be used.
        """
        try:
            asked = decode(body, Predict)
        except ValueError as error:
            raise InputError(f"the request cannot be read ({error})") from None
        name = asked.model.removeprefix(PREFIX)
        if name not in METHODS:
            raise FailureError(
                404, f"there is no model {asked.model[:60]!r}; there are {', '.join(PREFIX + one for one in METHODS)}"
            )
        if not (asked.params.text_prompt or "").strip():
            raise InputError("there are no words; write what to look for, separated by commas")
        words = parse_words((asked.params.text_prompt or "").replace(".", ","))
        ask = Ask(words, name, asked.params.objects, confidence=asked.params.conf_threshold or 0.0)
        if not asked.image.startswith("data:"):
            raise InputError("the picture must be a data URI")
        (answer,) = self.segment([asked.image], ask)
        if answer.error is not None:
            raise answer.error
        shapes = [shape for number, one in enumerate(answer.objects, 1) for shape in _shapes(one, number, asked.params)]
        found = ", ".join(dict.fromkeys(one.word for one in answer.objects)) or "nothing"
        return {"success": True, "data": {"shapes": shapes, "description": f"found: {found}", "replace": False}}


def app(segment: Segmenter) -> Any:
    """The ASGI application below ``PATH``."""
    remote = Remote(segment)

    def failed(status: int, text: str) -> Mapping[str, Any]:
        return {"success": False, "error": {"code": str(status), "message": text}, "detail": text}

    gets = {"/health": remote.health, "/v1/models": remote.models}
    return application(gets, {"/v1/predict": remote.predict}, failed)


def _model(name: str) -> dict[str, Any]:
    return {
        "display_name": f"segwright: {name}",
        "widgets": list(WIDGETS),
        "params": {"conf_threshold": 0.0, "epsilon_factor": 0.0},
        "batch_processing_mode": "text_prompt",
    }


def _shapes(found: Object, number: int, params: Params) -> list[dict[str, Any]]:
    """One polygon a piece; those of one object share a group."""
    around = 2 * (found.box[2] - found.box[0] + found.box[3] - found.box[1])
    simplify = SIMPLIFY if not params.epsilon_factor else min(max(params.epsilon_factor, 0.0), 0.1) * around
    polygons = outlines(found.mask, simplify)
    group = number if len(polygons) > 1 else None
    score = plain_score(found.score)
    return [
        {"label": found.word, "shape_type": "polygon", "points": points.astype(float).tolist(), "score": score, "group_id": group}
        for points in polygons
    ]
