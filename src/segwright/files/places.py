"""Where results go and come from: a folder, or anything that fsspec opens (s3://, gs://, memory:// ...)."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any, Protocol

from segwright.errors import InputError, OutputError
from segwright.files.disk import TEMPORARY, synced, write_all
from segwright.files.lock import lock
from segwright.files.seal import digest
from segwright.untrusted import read_bounded, safe_name

FLUSH = 10.0  # seconds between two copies of a growing file to an object store


class Place(Protocol):
    """A folder of files; ``name`` is relative, with forward slashes. What cannot be done is an InputError or OutputError."""

    def path(self, name: str) -> str: ...

    def exists(self, name: str) -> bool: ...

    def read(self, name: str) -> bytes | None:
        """None if it is not there."""

    def holds(self, name: str, check: str) -> bool:
        """A file of these bytes (``files.seal.digest``); a store that would have to send it says only whether it is there."""

    def write(self, files: Mapping[str, bytes]) -> None:
        """Each is there in full or not at all."""

    def append(self, name: str, data: bytes) -> None: ...

    def remove(self, name: str) -> None:
        """With the folders below this one that are empty then."""

    def open(self) -> None:
        """Make the folder if need be, keep other processes out, and remove what a killed one left half-written."""

    def close(self) -> None: ...


def is_url(path: object) -> bool:
    """ "s3://bucket/photos", but not "C:\\photos"."""
    return isinstance(path, str) and "://" in path


def find_place(folder: str | os.PathLike[str]) -> Place:
    """The place that a path or URL means; nothing is made or opened yet.

    Raises:
        InputError: a URL that nobody here can open.
    """
    return Remote(str(folder)) if is_url(folder) else Local(Path(folder))


def file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the path in it.

    Raises:
        InputError: fsspec, or what it needs for this kind of URL, is not installed.
    """
    try:
        from fsspec.core import url_to_fs

        return url_to_fs(url)
    except ImportError as error:
        raise InputError(f"{url!r} cannot be opened ({error}); pip install 'segwright[remote]'") from error
    except Exception as error:  # each kind of store raises its own
        raise InputError(f"{url!r} cannot be opened ({reason(error)}); check the address and your access to it") from error


class Local:
    """A folder of this machine."""

    def __init__(self, folder: Path, what: str = "run") -> None:
        """``what``: who works in it, for the sentence that keeps others out."""
        self.folder, self.what = folder, what
        self._files: dict[str, FileIO] = {}
        self._lock: int | None = None
        self._made: list[Path] = []  # folders that were not there before ``open``

    def path(self, name: str) -> str:
        return str(self.folder / _inside(name))

    def exists(self, name: str) -> bool:
        return Path(self.path(name)).is_file()

    def read(self, name: str) -> bytes | None:
        try:
            return read_bounded(self.path(name))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except InputError:
            raise
        except OSError as error:
            raise InputError(f"{self.path(name)!r} cannot be read ({error.strerror or error})") from error

    def holds(self, name: str, check: str) -> bool:
        try:
            content = self.read(name)
        except InputError:  # a folder in its place, or no permission
            return False
        return content is not None and digest(content) == check

    def write(self, files: Mapping[str, bytes]) -> None:
        write_all({self._within(name): synced(data) for name, data in files.items()})

    def append(self, name: str, data: bytes) -> None:
        try:
            if name not in self._files:  # without a buffer, which would be written once more, or fail once more, when it is closed
                self._files[name] = open(self._within(name), "ab", buffering=0)  # noqa: SIM115 (closed by close)
            file = self._files[name]
            before, rest = os.fstat(file.fileno()).st_size, memoryview(data)
            try:
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):
                    file.truncate(before)
                raise
        except OSError as error:
            raise OutputError(
                f"{self.path(name)!r} cannot be written ({error.strerror or error}); free some space and start again"
            ) from error

    def remove(self, name: str) -> None:
        try:
            self._within(name).unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{self.path(name)!r} cannot be removed ({error.strerror or error})") from error
        with suppress(OSError):  # not empty
            for parent in Path(name).parents[:-1]:
                (self.folder / parent).rmdir()

    def open(self) -> None:
        if self._lock is not None:
            return
        try:
            self._lock = self._locked()
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"{str(self.folder)!r} cannot be written ({reason}); choose another folder with -o") from error
        for parent, _, names in os.walk(self.folder):
            for name in names:
                if name.startswith(TEMPORARY):
                    with suppress(OSError):  # in a folder that cannot be written a leftover does no harm
                        Path(parent, name).unlink()

    def close(self) -> None:
        """Let other processes in; folders that were made here and are still empty are taken away."""
        for file in self._files.values():
            with suppress(OSError):  # what was appended is on the disk already
                file.close()
        self._files.clear()
        with suppress(OSError):  # not empty
            for folder in self._made:
                folder.rmdir()
        self._made.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _within(self, name: str) -> Path:
        """The path of a file that is to be changed; a link in the folder may not lead out of it."""
        path = Path(self.path(name))
        if not path.parent.resolve().is_relative_to(self.folder.resolve()):
            raise OutputError(f"{str(path)!r} lies outside {str(self.folder)!r} because a link leads there; take the link away")
        return path

    def _locked(self) -> int | None:
        """The folder, made if need be, held by this process; None where folders cannot be locked."""
        while True:
            self._made = [f for f in (self.folder, *self.folder.parents) if not f.exists()]
            self.folder.mkdir(parents=True, exist_ok=True)
            if os.name != "posix":
                return None
            held = os.open(self.folder, os.O_RDONLY)
            try:
                lock(held, self.folder, self.what)
                if os.path.samestat(os.fstat(held), os.stat(self.folder)):
                    return held
            except FileNotFoundError:
                pass  # whoever had it has taken the empty folder away
            except BaseException:  # somebody else is at work in it, so it is not ours to take away
                os.close(held)
                self._made.clear()
                raise
            os.close(held)


class Remote:
    """A folder of an object store: each file is put there whole; a growing file is put again every ``FLUSH`` seconds."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.files, self.root = file_system(self.url)
        self._growing: dict[str, bytearray] = {}
        self._put = 0.0

    def path(self, name: str) -> str:
        return f"{self.url}/{_inside(name)}"

    def exists(self, name: str) -> bool:
        return bool(self._try(self.files.exists, self._key(name)))

    def read(self, name: str) -> bytes | None:
        try:
            return bytes(self.files.cat_file(self._key(name)))
        except FileNotFoundError:
            return None
        except Exception as error:  # each kind of store raises its own
            raise InputError(f"{self.path(name)!r} cannot be read ({reason(error)}); check your access to it") from error

    def holds(self, name: str, check: str) -> bool:
        return self.exists(name)

    def write(self, files: Mapping[str, bytes]) -> None:
        for name, data in files.items():
            self._growing.pop(name, None)
            self._try(self.files.pipe_file, self._key(name), data)

    def append(self, name: str, data: bytes) -> None:
        if name not in self._growing:
            self._growing[name] = bytearray(self.read(name) or b"")
        self._growing[name] += data
        if time.monotonic() - self._put > FLUSH:
            self._flush()

    def remove(self, name: str) -> None:
        self._growing.pop(name, None)
        if self.exists(name):
            self._try(self.files.rm_file, self._key(name))

    def open(self) -> None:
        self._try(self.files.makedirs, self.root, exist_ok=True)

    def close(self) -> None:
        self._flush()
        self._growing.clear()

    def _key(self, name: str) -> str:
        return f"{self.root}/{_inside(name)}"

    def _flush(self) -> None:
        for name, data in self._growing.items():
            self._try(self.files.pipe_file, self._key(name), bytes(data))
        self._put = time.monotonic()

    def _try(self, do: Any, *args: Any, **options: Any) -> Any:
        try:
            return do(*args, **options)
        except Exception as error:  # each kind of store raises its own
            raise OutputError(f"{self.url!r} cannot be written ({reason(error)}); check your access to it") from error


def _inside(name: str) -> str:
    """A name of a file below the folder, or the empty one of the folder itself.

    Raises:
        InputError: it leads out of it.
    """
    try:
        return safe_name(name) if name else name
    except ValueError as error:
        raise InputError(f"{error}; results are written and read inside their folder only") from None


def reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
