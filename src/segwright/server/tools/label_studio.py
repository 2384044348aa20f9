"""Label Studio's protocol for ML backends, at /label-studio: health, setup, predict, webhook.

Documented at https://labelstud.io/guide/ml_create and in the repository HumanSignal/label-studio-ml-backend. A project's "extra
params", a JSON object, may choose ``confidence``, ``objects``, ``min_area`` and ``method``. Annotations are never touched.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from segwright.errors import InputError
from segwright.files.record import versions
from segwright.methods import DEFAULT
from segwright.objects import MIN_AREA
from segwright.runs.exports.label_studio import regions
from segwright.runs.exports.objects import SIMPLIFY
from segwright.server.tools.asgi import FailureError, application
from segwright.server.tools.asking import Answer, Ask, Segmenter
from segwright.server.tools.label_config import LabelConfig, parse_config, words_for
from segwright.untrusted import decode

PATH = "/label-studio"
TASKS = 256  # a call; Label Studio sends up to 100
PROJECTS = 256  # whose extra params are remembered


@dataclass(frozen=True)
class Setup:
    """What /setup is sent, as far as it is read."""

    project: str | int = ""
    schema: str = ""
    extra_params: str | dict[str, Any] | None = None


@dataclass(frozen=True)
class Predict:
    """What /predict is sent, as far as it is read."""

    tasks: list[dict[str, Any]]
    label_config: str = ""
    project: str | int | None = None
    params: dict[str, Any] | None = None


@dataclass(frozen=True)
class Extra:
    """A project's extra params."""

    confidence: float = 0.0
    objects: str = "words"
    min_area: float = MIN_AREA
    method: str = DEFAULT


@dataclass
class Backend:
    """One server for any number of projects."""

    segment: Segmenter
    extras: OrderedDict[str, Extra] = field(default_factory=OrderedDict)

    def health(self, _body: bytes) -> dict[str, Any]:
        return {"status": "UP", "model_class": "segwright"}

    def versions(self, _body: bytes) -> dict[str, Any]:
        return {"versions": [self._version(DEFAULT)]}

    def setup(self, body: bytes) -> dict[str, Any]:
        """A project connects, or has changed.

        Raises:
            InputError: a configuration or extra params that cannot be used.
        """
        asked = _decoded(body, Setup)
        if "<Image" in asked.schema:  # a new project has an empty configuration
            parse_config(asked.schema)
        extra = _extra(asked.extra_params)
        self.extras[_key(asked.project)] = extra
        while len(self.extras) > PROJECTS:
            self.extras.popitem(last=False)
        return {"model_version": self._version(extra.method)}

    def predict(self, body: bytes) -> dict[str, Any]:
        """Predictions, one a task; a task that cannot be done has none and an ``error``.

        Raises:
            FailureError: 400: no task could be done, with the first one's reason; 413: too many tasks.
            InputError: a configuration or words that cannot be used.
        """
        asked = _decoded(body, Predict)
        if len(asked.tasks) > TASKS:
            raise FailureError(413, f"{len(asked.tasks)} tasks in one call; send at most {TASKS}")
        config = parse_config(asked.label_config)
        params = asked.params or {}
        context = params.get("context")
        extra = self.extras.get(_key(asked.project), Extra())
        words = words_for(config, context if isinstance(context, Mapping) else {})
        ask = Ask(words, extra.method, extra.objects, extra.min_area, extra.confidence)
        answers = self.segment([_address(task, config) for task in asked.tasks], ask)
        if answers and all(one.error is not None for one in answers):
            raise FailureError(400, str(answers[0].error))
        return {"results": [self._prediction(one, config, extra) for one in answers]}

    def ignored(self, _body: bytes) -> dict[str, Any]:
        return {"status": "ignored: nothing is trained here"}

    def _version(self, method: str) -> str:
        return f"segwright {versions()['segwright']}, {method}"

    def _prediction(self, answer: Answer, config: LabelConfig, extra: Extra) -> dict[str, Any]:
        version = self._version(extra.method)
        if answer.error is not None:
            return {"result": [], "score": 0.0, "model_version": version, "error": str(answer.error)}
        result = regions(answer.objects, answer.size, config.control, SIMPLIFY)
        for region in result:
            labels = region["value"][config.control.type]
            region["value"][config.control.type] = [config.label_of(one) for one in labels]
        scores = [one.score for one in answer.objects if one.score is not None]
        return {"result": result, "score": sum(scores) / len(scores) if scores else 0.0, "model_version": version}


def app(segment: Segmenter) -> Any:
    """The ASGI application below ``PATH``."""
    backend = Backend(segment)
    gets = {"/": backend.health, "/health": backend.health, "/versions": backend.versions}
    posts = {"/setup": backend.setup, "/predict": backend.predict, "/webhook": backend.ignored, "/train": backend.ignored}
    return application(gets, posts, lambda status, text: {"error": text})


def _address(task: Mapping[str, Any], config: LabelConfig) -> str:
    data = task.get("data")
    value = data.get(config.key) if isinstance(data, Mapping) else None
    return value if isinstance(value, str) else ""


def _key(project: str | int | None) -> str:
    """Label Studio sends a project's number and the time it was made."""
    return str(project or "").partition(".")[0][:64]


def _extra(given: str | dict[str, Any] | None) -> Extra:
    if not given:
        return Extra()
    import json

    extra = _decoded(given.encode() if isinstance(given, str) else json.dumps(given).encode(), Extra)
    Ask(("x",), extra.method, extra.objects, extra.min_area, extra.confidence)
    return extra


def _decoded(body: bytes, kind: type[Any]) -> Any:
    try:
        return decode(body, kind)
    except ValueError as error:
        raise InputError(f"the request cannot be read ({error})") from None
