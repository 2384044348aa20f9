"""Settings by their names: texts and dictionaries become settings dataclasses; what each one is comes from its docstring.

A setting within a setting has a dotted path, ``features.kind``. The same rules serve the command line (``--set
features.kind=query``), the page, and Python (``features={"kind": "query"}``).
"""

from __future__ import annotations

import difflib
import inspect
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from typing import Any, Union

from segwright.errors import InputError

Tree = Mapping[str, Any]  # name -> annotation, or another tree
NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", tuple: "several values, joined by commas"}
WORDS = {int: "integer", float: "number", bool: "true/false", str: "text"}  # in lists
NONE = ("none", "null")  # how a text says that a setting has no value
HEADS = re.compile(r"(Raises|Returns|Args|Yields):$")
ENTRY = re.compile(r"(\w+(?:, \w+)*): (.*)")


@dataclass(frozen=True)
class Setting:
    """One setting, for people.

    Attributes:
        path: its name, dotted where it lies in another setting.
        kind: its type as it is written, "int".
        default: as it would be given to ``--set``.
        about: what it means, and where its default is from.
    """

    path: str
    kind: str
    default: str
    about: str


# what there is


def settings_tree(kind: type) -> Tree:
    """The settings of a dataclass: name -> its annotation."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def group(hint: Any) -> type | None:
    """The settings dataclass (all its fields have defaults) that a setting holds, as ``FeatureSettings | None`` does."""
    for member in _members(hint):
        if is_dataclass(member) and isinstance(member, type) and all(_default(f) is not MISSING for f in fields(member)):
            return member
    return None


def paths(tree: Tree, before: str = "") -> Iterator[str]:
    """All names, dotted."""
    for name, hint in tree.items():
        yield before + name
        yield from paths(_inner(hint) or {}, f"{before}{name}.")


def _inner(hint: Any) -> Tree | None:
    """The tree below a setting: of the dataclass that it holds, or given as it is; None: it has no parts."""
    if isinstance(hint, Branch):
        return hint.tree
    if isinstance(hint, Mapping):
        return hint
    found = group(hint)
    return None if found is None else settings_tree(found)


@dataclass(frozen=True)
class Branch:
    """A setting that has a value of its own and parts below it: ``refine=crf,pamr`` and ``refine.crf.iterations=5``."""

    hint: Any
    tree: Tree


# from texts


def read_settings(texts: Sequence[str], tree: Tree, owner: str) -> dict[str, Any]:
    """("clusters=5", "features.kind=query") -> {"clusters": 5, "features": {"kind": "query"}}, each value of its type.

    Args:
        tree: which settings there are.
        owner: whose they are, for messages.

    Returns:
        Nested dictionaries; a ``Branch``'s own value is under "".

    Raises:
        InputError: no "=", an unknown name, one that is given twice, or a text that is no value of its type.
    """
    out: dict[str, Any] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals or not path.strip():
            raise InputError(f"a setting is written NAME=VALUE, got {text!r}")
        _put(out, path.strip(), value.strip(), tree, owner)
    return out


def _put(out: dict[str, Any], path: str, text: str, tree: Tree, owner: str) -> None:
    *before, last = path.split(".")
    for name in before:
        inner = _inner(tree[name]) if name in tree else None
        if inner is None:
            raise _unknown(path, tree, owner)
        tree, out = inner, out.setdefault(name, {})
    if last not in tree:
        raise _unknown(path, tree, owner, ".".join(before))
    hint = tree[last]
    if isinstance(hint, Branch):
        out, last, hint = out.setdefault(last, {}), "", hint.hint
    if last in out:
        raise InputError(f"{path} is given twice; give it once")
    out[last] = _read(text, hint, path)


def _read(text: str, hint: Any, path: str) -> Any:
    members = _members(hint)
    if type(None) in members and text.lower() in NONE:
        return None
    inner = _inner(hint)
    if inner is not None:
        names = ", ".join(f"{path}.{name}" for name in inner)
        raise InputError(f"{path} has settings of its own; give {names}{' or none' if type(None) in members else ''}")
    for member in sorted(members, key=lambda member: member is str):  # a text can be anything, so it comes last
        value = _value(text, member)
        if value is not MISSING:
            return value
    raise InputError(f"{path} must be {_named(hint)}, got {text!r}")


def _value(text: str, hint: Any) -> Any:
    """A text as one type, or MISSING if it is none of it."""
    if hint is str:
        return text
    if hint is bool:
        return {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}.get(text.lower(), MISSING)
    if hint in (int, float):
        try:
            return hint(text)
        except ValueError:
            return MISSING
    if typing.get_origin(hint) is tuple:
        return _several(text, hint)
    return MISSING


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _several(text: str, hint: Any) -> Any:
    try:
        items = json.loads(text) if text.startswith("[") else _parts(text)
        if text.startswith("["):
            return fitted(items, hint, "")
    except (ValueError, InputError):
        return MISSING
    inner = _elements(hint, len(items))
    if inner is None:
        return MISSING
    found = [
        next((v for m in _members(one) if (v := _value(item, m)) is not MISSING), MISSING)
        for item, one in zip(items, inner, strict=True)
    ]
    return MISSING if MISSING in found else tuple(found)


# from Python


def build(kind: type, given: Mapping[str, Any], owner: str, preset: Any = None) -> Any:
    """A settings dataclass from values and, for settings that have parts, dictionaries.

    Args:
        preset: whose attribute a dictionary changes where a setting's default is None and means the preset's own; a field
            says which attribute that is, ``field(default=None, metadata={"preset": "features"})``.

    Raises:
        InputError: an unknown name, a value of another type, or one that the dataclass refuses.
    """
    return kind(**_fitted_all(kind, given, owner, preset_settings(kind, preset)))


def take_parts(made: Any) -> None:
    """For the ``__post_init__`` of frozen settings: a dictionary becomes the settings that its field holds, their other values
    the defaults (``features={"kind": "query"}`` is ``features=FeatureSettings(kind="query")``).

    Raises:
        InputError: an unknown name, or a value of another type.
    """
    for name, hint in settings_tree(type(made)).items():
        value, part = vars(made)[name], group(hint)
        if isinstance(value, Mapping) and part is not None:
            object.__setattr__(made, name, build(part, value, f"{name} of {type(made).__name__}"))


def preset_settings(kind: type, preset: Any) -> dict[str, Any]:
    """What stands for None in those settings that are the preset's own by default."""
    return {f.name: getattr(preset, f.metadata["preset"], None) for f in fields(kind) if "preset" in f.metadata}


def changed(base: Any, given: Mapping[str, Any], owner: str, preset: Any = None) -> Any:
    """A settings dataclass with some settings changed; see ``build``.

    Raises:
        InputError: as ``build``.
    """
    own = {f.name: getattr(base, f.name) for f in fields(base)}
    return replace(base, **_fitted_all(type(base), given, owner, preset_settings(type(base), preset) | _set(own)))


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by name with others over them, part by part: dictionaries change what they meet."""
    out = dict(old)
    for name, value in new.items():
        before = out.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            out[name] = merged(before, value)
        elif isinstance(value, Mapping) and is_dataclass(before):
            out[name] = changed(before, value, name)
        else:
            out[name] = value
    return out


def _set(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _fitted_all(kind: type, given: Mapping[str, Any], owner: str, bases: Mapping[str, Any]) -> dict[str, Any]:
    tree, out = settings_tree(kind), {}
    for name, value in given.items():
        if name not in tree:
            raise _unknown(name, tree, owner)
        part = group(tree[name])
        if isinstance(value, Mapping) and part is not None:
            base = bases.get(name)
            out[name] = changed(part() if base is None else base, value, f"{name} of {owner}")
        else:
            out[name] = fitted(value, tree[name], name)
    return out


def fitted(value: Any, hint: Any, path: str) -> Any:
    """A value of an annotation's type, lists as tuples, whole numbers as floats where those are wanted.

    Raises:
        InputError: it is of another type.
    """
    found = next((v for member in _members(hint) if (v := _fits(value, member)) is not MISSING), MISSING)
    if found is MISSING:
        raise InputError(f"{path} must be {_named(hint)}, got {value!r}")
    return found


def _fits(value: Any, hint: Any) -> Any:
    origin = typing.get_origin(hint)
    if origin is tuple:
        inner = _elements(hint, len(value)) if isinstance(value, list | tuple) else None
        if inner is None:
            return MISSING
        found = [
            next((v for m in _members(h) if (v := _fits(item, m)) is not MISSING), MISSING)
            for item, h in zip(value, inner, strict=True)
        ]
        return MISSING if MISSING in found else tuple(found)
    kind = origin or hint
    if kind is Any or not isinstance(kind, type):  # Any is a class since Python 3.11
        return value
    if isinstance(value, bool) and kind in (int, float):
        return MISSING
    if kind is float and isinstance(value, int):
        return float(value)
    return value if isinstance(value, kind) else MISSING


# for people


def describe(kind: type, before: str = "", changes: Any = None) -> list[Setting]:
    """Every setting of a dataclass, parts of settings included.

    Args:
        changes: an instance whose values are the defaults.
    """
    base, notes, out = changes if changes is not None else kind(), documented(kind), []
    for name, hint in settings_tree(kind).items():
        value = getattr(base, name)
        out.append(Setting(before + name, _written(hint), as_text(value), notes.get(name, "")))
        part = group(hint)
        if part is not None:
            out += describe(part, f"{before}{name}.", value)
    return out


def documented(kind: type) -> dict[str, str]:
    """What the "Attributes:" of a class's docstring, or of its bases', say of each field; "window, stride: ..." is of both."""
    above = [documented(base) for base in reversed(kind.__bases__) if is_dataclass(base)]
    return {name: text for notes in (*above, _attributes(kind)) for name, text in notes.items()}


def _attributes(kind: type) -> dict[str, str]:
    lines = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:")[2].splitlines()[1:]
    margin = len(lines[0]) - len(lines[0].lstrip()) if lines else 0
    out: dict[str, str] = {}
    names: list[str] = []
    for line in lines:
        if HEADS.match(line.strip()) or (line.strip() and len(line) - len(line.lstrip()) < margin):
            break
        entry = ENTRY.match(line[margin:])
        if entry:
            names = entry[1].split(", ")
            out |= dict.fromkeys(names, entry[2])
        elif line.strip():
            out |= {name: f"{out[name]} {line.strip()}" for name in names}
    return out


def as_text(value: Any) -> str:
    """A value as ``--set`` takes it, and reads it again as it was."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        items = [as_text(item) for item in value]
        joined = ",".join(items)
        # In JSON what commas would tear apart, spaces or nothing would be lost of, or another kind of value would be read from.
        plain = _parts(joined) == items and not joined.startswith("[") and joined.lower() not in NONE
        return joined if plain and not any(isinstance(item, tuple) for item in value) else json.dumps(value, ensure_ascii=False)
    return str(value)


def _unknown(path: str, tree: Tree, owner: str, within: str = "") -> InputError:
    """ "freeseg-diff has no setting 'timestep'; this is features.timestep"."""
    before = f"{within}." if within else ""
    known, last = [before + one for one in paths(tree)], path.rpartition(".")[2]
    same = [one for one in known if one.rpartition(".")[2] == last]
    if same:
        return InputError(f"{owner} has no setting {path!r}; this is {' or '.join(same)}")
    near = difflib.get_close_matches(path, known, 1) or difflib.get_close_matches(last, [k.rpartition(".")[2] for k in known], 1)
    hint = next((k for k in known if near and k.endswith(near[0])), None)
    listed = ", ".join(before + name for name in tree)
    return InputError(f"{owner} has no setting {path!r}; {f'did you mean {hint}? ' if hint else ''}it has {listed}")


def _members(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)


def _elements(hint: Any, count: int) -> tuple[Any, ...] | None:
    """The annotation of each of so many elements of a tuple; None: it has another number of them."""
    args = typing.get_args(hint)
    if len(args) == 2 and args[1] is Ellipsis:
        return (args[0],) * count
    return args if len(args) == count else None


def _default(field: Any) -> Any:
    return field.default if field.default is not MISSING else field.default_factory


def _named(hint: Any) -> str:
    names = [NAMES.get(typing.get_origin(m) or m, getattr(m, "__name__", str(m))) for m in _members(hint) if m is not type(None)]
    return " or ".join([*names, *(["none"] if type(None) in _members(hint) else [])])


def _written(hint: Any) -> str:
    """An annotation as people read it: "int", "tuple of int", "str or none"."""
    words = []
    for member in _members(hint):
        if typing.get_origin(member) is tuple:
            inner = [a for a in typing.get_args(member) if a is not Ellipsis]
            words.append(f"{_written(inner[0])}, ..." if len(inner) == 1 else ", ".join(map(_written, inner)))
        elif member is type(None):
            words.append("none")
        elif isinstance(member, type):
            words.append(WORDS.get(member, member.__name__))
    return " or ".join(words)
