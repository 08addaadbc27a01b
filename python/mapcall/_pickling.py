"""Pickles of libraries and functions: by the path and the digest of the file, or by the source code
that was compiled, and by prototype.

A process that unpickles them often, as workers do, keeps them open in between: `CACHE`.
"""

from __future__ import annotations

import functools
import itertools
import os
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from . import _mapcall
from ._cache import Expiring
from ._errors import LibraryError, PrototypeError
from ._mapcall import Function, Library, compile, load

# The time for which libraries stay loaded that no task uses.
SECONDS = 60

# The libraries and functions that have been unpickled.
CACHE: Expiring[Any] = Expiring(256, SECONDS)


class Compilation(NamedTuple):
    """The source code of a library that was compiled, with its options.

    >>> import mapcall
    >>> lib = mapcall.compile("int answer(void) { return 42; }")
    >>> arguments_of(lib)[2].text
    'int answer(void) { return 42; }'
    """

    text: str
    # The file that the text was read from.
    file: str | None
    language: str
    flags: tuple[str, ...]
    libraries: tuple[str, ...]
    include: tuple[str, ...]
    define: tuple[tuple[str, str | None], ...]
    # Each with whether it is a text, or a file.
    prototypes: tuple[tuple[bool, str], ...]
    compiler: str | None
    cache: bool

    def build(self) -> Library:
        """Return the library, from the cache or compiled again.

        >>> import mapcall
        >>> lib = mapcall.compile("int answer(void) { return 42; }")
        >>> arguments_of(lib)[2].build().answer()
        42
        """
        source: str | Path = self.text
        include = self.include
        if self.file is not None:
            path = Path(self.file)
            try:
                is_same = path.read_text(encoding="utf-8") == self.text
            except OSError:
                is_same = False
            # On another machine, the file need not exist.
            source, include = (path, include) if is_same else (source, (str(path.parent), *include))
        return compile(
            source,
            flags=self.flags,
            libraries=self.libraries,
            include=include,
            define=dict(self.define),
            prototypes=[text if is_text else Path(text) for is_text, text in self.prototypes],
            language=self.language,
            compiler=self.compiler,
            cache=self.cache,
        )


Version = tuple[int, int, int]
# The names of headers, their directories and macros, the files of prototypes that override theirs,
# and the texts of headers.
HeaderFiles = tuple[
    str | tuple[str, ...], Sequence[str], Mapping[str, Any], tuple[str, ...], tuple[str, ...]
]
# Where the functions of a library are declared.
Header = HeaderFiles | Compilation


class Identity(NamedTuple):
    """The file of a library, as the process that pickled it has seen it.

    >>> import mapcall
    >>> identify(mapcall.load("m").path).host == os.uname().nodename
    True
    """

    digest: str
    host: str


class Copy(NamedTuple):
    """A file of the same digest, which another process has sent, and the text of its headers.

    >>> Copy("/scratch/libkern.so", {}).headers
    {}
    """

    path: str
    headers: dict[Any, str]


# By digest.
_copies: dict[str, list[Copy]] = {}
# By digest: why a copy that was sent could not be used.
_refusals: dict[str, str] = {}


def version_of(path: str) -> Version:
    """Return what changes with the content of a file.

    >>> import mapcall
    >>> path = mapcall.load("m").path
    >>> version_of(path) == version_of(path)
    True
    """
    status = os.stat(path)
    return status.st_ino, status.st_size, status.st_mtime_ns


def digest(path: str) -> str:
    """Return the digest of a file, which is read again only if it has changed.

    >>> import mapcall
    >>> path = mapcall.load("m").path
    >>> digest(path) == digest(path), len(digest(path))
    (True, 32)
    """
    return _cached_digest(path, version_of(path))


def _digest(path: str, _version: Version) -> str:
    # It loads OpenSSL, which no call needs.
    import hashlib

    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


_cached_digest = functools.lru_cache(maxsize=256)(_digest)


def digest_of(content: bytes) -> str:
    """Return the digest of a file with this content.

    >>> len(digest_of(b"x"))
    32
    """
    import hashlib

    return hashlib.blake2b(content, digest_size=16).hexdigest()


def identify(path: str) -> Identity:
    """Return what a pickle tells of the file of a library that is loaded.

    >>> import mapcall
    >>> libm = mapcall.load("m").path
    >>> identify(libm).digest == digest(libm)
    True

    Raises
    ------
    LibraryError
        If the file can't be read, or another file has the path since the library was loaded.
    """
    try:
        version = version_of(path)
        if (path, version) in _mapped or _is_mapped(path):
            _mapped.add((path, version))
            return Identity(_cached_digest(path, version), os.uname().nodename)
        other = "another one"
    except OSError as error:
        other = f"none ({error.strerror})"
    if path in _identities:
        # A scheduler passes on what it has unpickled.
        return _identities[path]
    raise LibraryError(
        f"expected the file of the library {path} as it was loaded, to refer to it in a pickle, "
        f"got {other}; load the library in a new process, or the new file from a path of its own"
    )


# By path, as unpickled last.
_identities: dict[str, Identity] = {}
# The paths and versions of files that have been found in the memory of this process.
_mapped: set[tuple[str, Version]] = set()


def _is_mapped(path: str) -> bool:
    """Return whether the file that has a path now is in memory; True if that is not known."""
    try:
        with open(
            "/proc/self/maps", encoding=sys.getfilesystemencoding(), errors="surrogateescape"
        ) as file:
            paths = {line.rstrip("\n").split(maxsplit=5)[-1] for line in file}
    except OSError:
        return True
    return path in paths or os.path.realpath(_mapcall.__file__) not in paths


def add_copy(digest: str, copy: Copy) -> None:
    """Let references to a digest use a copy where their own path has another file or none.

    >>> copy = Copy("/scratch/libkern.so", {})
    >>> add_copy("d1ce", copy)
    >>> remove_copy("d1ce", copy)
    """
    _refusals.pop(digest, None)
    _copies.setdefault(digest, []).append(copy)


def remove_copy(digest: str, copy: Copy) -> None:
    """Undo an `add_copy`, or do nothing.

    >>> remove_copy("d1ce", Copy("/scratch/libkern.so", {}))
    """
    _copies[digest] = [other for other in _copies.get(digest, []) if other is not copy]


def refuse_copy(digest: str, reason: str) -> None:
    """Set what the error of a reference says about the copy that was sent.

    >>> refuse_copy("d1ce", "it is for aarch64")
    """
    _refusals[digest] = reason


def reload(path: str | None, identity: tuple[str, str] | None, header: Header | None) -> Any:
    """Return the library that a pickle refers to.

    >>> import mapcall, pickle
    >>> libm = mapcall.load("m")
    >>> pickle.loads(pickle.dumps(libm)) == libm
    True

    It is loaded once, and again when it has not been used for a minute or its file has changed.

    Returns
    -------
    Library or Missing
        A `Missing` only where an exception would be lost: in workers of multiprocessing and Dask.

    Raises
    ------
    LibraryError
        If the file is missing, or is another one than the one that was pickled.
    """
    return _attempt(_reload, reload, path, identity, header)


def _reload(path: str | None, identity: tuple[str, str] | None, header: Header | None) -> Library:
    key = header and header_key(header)
    library: Library
    if path is None or identity is None:
        library = CACHE.get((None, key), lambda: _load(None, header))
        return library
    expected, _ = identity
    found, version = _find(path, *identity)
    if found == path:
        _identities[path] = Identity(*identity)
    sent = [copy.headers[key] for copy in _copies.get(expected, ()) if key in copy.headers]
    library = CACHE.get(
        (found, version, key, *sent),
        lambda: _open(_spelling(found, version), path, identity, header, sent),
    )
    return library


def _find(path: str, expected: str, host: str) -> tuple[str, Version]:
    """Return the file of a reference on this machine: that of its path, or a copy that was sent."""
    try:
        version = version_of(path)
        found = _cached_digest(path, version)
        if found == expected:
            return path, version
        other = f"another file (digest {found})"
    except OSError as error:
        other = f"none ({error.strerror})"
    for copy in _copies.get(expected, ()):
        try:
            version = version_of(copy.path)
            if _cached_digest(copy.path, version) == expected:
                return copy.path, version
            other += f", and another file as the copy {copy.path}"
        except OSError as error:
            other += f", and no copy {copy.path} ({error.strerror})"
    refusal = _refusals.get(expected)
    raise LibraryError(
        f"expected the library {path} of host {host} (digest {expected}), got {other} on host "
        f"{os.uname().nodename}"
        + (
            f", which has refused the copy that was sent: {refusal}; build it there"
            if refusal
            else "; build the same one there, or send it to the workers of Dask with "
            "mapcall.dask.ship(client, library)"
        )
    )


def _open(
    spelling: str,
    path: str,
    identity: tuple[str, str],
    header: Header | None,
    sent: Sequence[str],
) -> Library:
    """Load the file of a reference, with the header that was sent or that of this machine."""
    if sent:
        return load(spelling, sent[0])
    try:
        return _load(spelling, header)
    except PrototypeError as error:
        _, host = identity
        raise LibraryError(
            f"expected the header {header and header[0]} of the library {path}, as on host {host}, "
            f"got none that can be read on host {os.uname().nodename} ({error}); install it there, "
            "or send it to the workers of Dask with mapcall.dask.ship(client, library)"
        ) from None


def _load(path: str | None, header: Header | None) -> Library:
    if header is None:
        return load(path)
    if isinstance(header, Compilation):
        return header.build()
    name, include, define, prototypes, texts = header
    return load(
        path,
        name,
        header_text=texts,
        prototypes=prototypes,
        include=include,
        define=dict(define),
    )


def header_key(header: Header) -> tuple[Any, ...]:
    """Return a header and its options as a key of a dict.

    >>> header_key(("kern.h", ["include"], {"N": "3"}, (), ()))
    ('kern.h', ('include',), (('N', '3'),), (), ())
    """
    if isinstance(header, Compilation):
        return header
    name, include, define, prototypes, texts = header
    return name, tuple(include), tuple(define.items()), prototypes, texts


_spellings: defaultdict[str, itertools.count[int]] = defaultdict(itertools.count)


def _new_spelling(path: str, _version: Version) -> str:
    """Return a name of a file that no earlier file of the path has been loaded by.

    The loader takes a name that it knows for the library that is loaded under it, though another
    file has the name now. Under another name, it compares the files themselves.
    """
    folder, name = os.path.split(path)
    return os.path.join(folder, "./" * (1 + next(_spellings[path]) % 500) + name)


_spelling = functools.lru_cache(maxsize=1024)(_new_spelling)


def rebind(
    library: Any,
    name: str,
    prototype: str | None,
    options: dict[str, Any],
    is_unchecked: bool,
) -> Any:
    """Return the function that a pickle refers to.

    >>> import mapcall, pickle
    >>> cos = mapcall.load("m").function("double cos(double x)")
    >>> pickle.loads(pickle.dumps(cos))(0.0)
    1.0

    It is bound once, as `reload` says of libraries, if its option `check` is no callable.

    Returns
    -------
    Function or Missing
        A `Missing` only where an exception would be lost: in workers of multiprocessing and Dask.
    """
    return _attempt(_rebind, rebind, library, name, prototype, options, is_unchecked)


def _rebind(
    library: Any,
    name: str,
    prototype: str | None,
    options: dict[str, Any],
    is_unchecked: bool,
) -> Function:
    library = loaded(library)
    options = {key: loaded(value) for key, value in options.items()}
    arguments = (library, name, prototype, options, is_unchecked)
    if callable(options.get("check")):
        return _mapcall.rebind(*arguments)
    # The function that is cached keeps the library and the destructor alive, and so their `id`.
    chosen = [id(value) if isinstance(value, Function) else value for value in options.values()]
    key = (id(library), name, prototype, *chosen, is_unchecked)
    function: Function = CACHE.get(key, lambda: _mapcall.rebind(*arguments))
    return function


def _attempt(make: Callable[..., Any], again: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function makes, or a `Missing` if an exception would be lost here."""
    try:
        return make(*arguments)
    except Exception:
        if not _loses_exceptions():
            raise
        return Missing(make, again, *arguments)


def _loses_exceptions() -> bool:
    """Return whether an exception of unpickling would end this process without a word to its user.

    That holds for a worker process of `multiprocessing`: its pool waits for ever. It also holds for
    the thread of the event loop, and that for long messages, in a scheduler or worker of Dask. A
    scheduler needs no library.
    """
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        return True
    for name, kind in (("distributed.scheduler", "Scheduler"), ("distributed.worker", "Worker")):
        module = sys.modules.get(name)
        if module is not None and getattr(module, kind)._instances:
            break
    else:
        return False
    from asyncio import _get_running_loop

    is_event_loop = _get_running_loop() is not None
    return is_event_loop or threading.current_thread().name.startswith("Dask-Offload")


class Missing:
    """A library or function that a worker does not have: its use raises the exception.

    >>> import pickle
    >>> missing = Missing(int, int, "3.0")
    >>> missing()
    Traceback (most recent call last):
    ValueError: invalid literal for int() with base 10: '3.0'

    It is pickled as it came, so that a scheduler of Dask passes it on.

    Parameters
    ----------
    make, again : callable
        What makes the object, and what does when the object is unpickled from its pickle.
    *arguments : object
        The arguments of both.
    """

    def __init__(
        self, make: Callable[..., Any], again: Callable[..., Any], *arguments: Any
    ) -> None:
        self._make = make
        self._again = again
        self._arguments = arguments

    def load(self) -> Any:
        """Return the object, or raise why it is missing.

        >>> Missing(int, int, "3").load()
        3
        """
        return self._make(*self._arguments)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.load()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            # Protocols that the object does not have.
            raise AttributeError(name)
        return getattr(self.load(), name)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._again, self._arguments


def loaded(value: Any) -> Any:
    """Return a value, or what a `Missing` stands for.

    >>> loaded(Missing(int, int, "3")), loaded("3")
    (3, '3')
    """
    return value.load() if isinstance(value, Missing) else value


def arguments_of(pickled: Library | Function) -> tuple[Any, ...]:
    """Return the arguments of `reload` or `rebind` that a pickle has.

    >>> import mapcall
    >>> arguments_of(mapcall.load("m").function("double cos(double x)"))[1:3]
    ('cos', 'double cos(double x)')
    """
    return cast(tuple[Any, tuple[Any, ...]], pickled.__reduce__())[1]


def reference(pickled: Library | Function) -> tuple[Any, ...]:
    """Return the arguments of a pickle without what differs between equal libraries or functions.

    >>> import mapcall
    >>> cos = mapcall.load("m").function("double cos(double x)")
    >>> path, digest, header = reference(cos.library)
    >>> reference(cos)[1:]
    ('cos', 'double cos(double x)', {'check': None, ...}, False)
    """
    if isinstance(pickled, Function):
        library, *rest = arguments_of(pickled)
        return (reference(library), *rest)
    path, identity, header = arguments_of(pickled)
    return path, identity and identity.digest, header
