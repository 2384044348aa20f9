"""A method that is loaded already, asked like one by name and settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from segwright.files.record import all_versions
from segwright.methods.base.contract import Method

# What an identity says where a method of somebody's own leaves it out.
UNKNOWN: dict[str, Any] = {"method": None, "preset": None, "device": None, "dtype": None, "settings": {}}


@dataclass(frozen=True)
class Loaded:
    """A method that is loaded already, asked like a ``MethodSpec``."""

    method: Method

    @property
    def kind(self) -> type[Method]:
        return type(self.method)

    @property
    def portable(self) -> bool:
        """It cannot be sent to other processes with its networks."""
        return False

    def fetch(self, words: bool) -> None:
        """Its networks are its own business."""

    @property
    def of_profile(self) -> Mapping[str, Any]:
        """Nothing: what was loaded has its settings."""
        return {}

    def for_data(self, name: str) -> Loaded:
        """Itself: what was loaded keeps its settings."""
        return self

    @property
    def chosen(self) -> tuple[str, ...]:
        """The names of the settings that differ from their defaults."""
        settings = self.method.settings
        default = type(settings)()
        return tuple(f.name for f in fields(settings) if getattr(settings, f.name) != getattr(default, f.name))

    def load(self) -> Method:
        return self.method

    def prepare(self, words: Sequence[str]) -> None:
        self.method.prepare(words)

    def made_for(self, words: Sequence[str] | None) -> dict[str, str]:
        return self.method.made_for(words)

    def identity(self, words: bool | None = None, elsewhere: bool = False) -> dict[str, Any]:
        return UNKNOWN | {"versions": all_versions()} | self.method.identity(words)

    def with_settings(self, more: Mapping[str, Any]) -> Loaded:
        """With more settings."""
        if not more:
            return self
        changed: Any = self.method
        return Loaded(replace(changed, settings=replace(changed.settings, **more)))

    def with_option(self, name: str, value: Any) -> Loaded:
        """Itself: what was loaded keeps its options."""
        return self
