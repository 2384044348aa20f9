"""What holds wherever a method is called: photos by path, words of several names, and whose the words of a result are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any

from segwright.images import as_image
from segwright.methods.base.results import Trace
from segwright.words.synonyms import joined, names_of, split_names
from segwright.words.vocabulary import check_words


def _by_names(function: Callable[..., Any], join: Callable[[Any, Sequence[str]], Any]) -> Callable[..., Any]:
    """A method's function of (what, words, ...): called with all names of the words, its result joined."""

    @wraps(function)
    def called(self: Any, what: Any, words: Sequence[str] | None = None, *more: Any, **named: Any) -> Any:
        if words is None or isinstance(words, str) or self.takes_synonyms:
            return function(self, what, words, *more, **named)
        split = tuple(word for word in check_words(words))
        if not any(len(names_of(word)) > 1 for word in split):
            return function(self, what, words, *more, **named)
        return join(function(self, what, split_names(split)[0], *more, **named), split)

    return called


def _with_images(function: Callable[..., Any], several: bool) -> Callable[..., Any]:
    """A method's function of (image, ...), or of several images: paths and Pillow images are read first."""

    @wraps(function)
    def called(self: Any, what: Any, *more: Any, **named: Any) -> Any:
        given = [as_image(one) for one in what] if several else as_image(what)
        return function(self, given, *more, **named)

    return called


def _marked(function: Callable[..., Any], mark: Callable[[Any], Any]) -> Callable[..., Any]:
    """A method's function of (what, words, ...), whose results say when no words were given."""

    @wraps(function)
    def called(self: Any, what: Any, words: Sequence[str] | None = None, *more: Any, **named: Any) -> Any:
        made = function(self, what, words, *more, **named)
        return mark(made) if words is None else made

    return called


# What of a method is called with words or without, and how its result says that its words are its own.
_OWN: dict[str, Callable[[Any], Any]] = {
    "many": lambda results: [replace(result, own_words=True) for result in results],
    "trace": lambda trace: replace(trace, segmentation=replace(trace.segmentation, own_words=True)),
}


def _joined_trace(trace: Trace, words: Sequence[str]) -> Trace:
    owners = split_names(words)[1]

    def region(label: int) -> str:
        return "".join(trace.region(name) for name, owner in enumerate(owners, 1) if owner == label - 1)

    return replace(trace, segmentation=joined(trace.segmentation, words), region=region)


# What of a method is called with words, and how its result for all names becomes that for the words.
_JOINS: dict[str, Callable[[Any, Sequence[str]], Any]] = {
    "many": lambda results, words: [joined(result, words) for result in results],
    "trace": _joined_trace,
    "explain": lambda page, words: page,
}


def wrap_calls(kind: type) -> None:
    """Wrap what a method's class itself defines of ``many``, ``trace`` and ``explain``, so that these rules hold for each."""
    for name, join in _JOINS.items():
        if name not in vars(kind):
            continue
        called = _by_names(vars(kind)[name], join)
        if name in _OWN:
            called = _marked(called, _OWN[name])
        setattr(kind, name, _with_images(called, several=name == "many"))
