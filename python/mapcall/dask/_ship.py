"""Sends libraries to the workers of a cluster."""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import TYPE_CHECKING, Any

from .. import _pickling
from .._errors import LibraryError
from .._headers import include as own_folder
from .._mapcall import Function, Library
from .._pickling import Compilation, HeaderFiles

if TYPE_CHECKING:
    from distributed import Client, Scheduler, Worker

    from ._plugin import LibraryPlugin

# The number of workers whose refusals an error lists.
LISTED = 3


def ship(client: Client, library: Library | Function) -> Any:
    """Send a library's file to the workers of a cluster, also to those that join later.

    >>> mapcall.dask.ship(client, mapcall.load("./libkern.so"))  # doctest: +SKIP

    Functions of the library that reach a worker then use its copy, if the worker has no such file
    under the library's path, or a file with another content.

    Parameters
    ----------
    client : distributed.Client
        The client of the cluster.
    library : Library or Function
        The library, or a function of it. If it was loaded with a header, that is sent, too.

    Returns
    -------
    None or coroutine
        A coroutine if the client is asynchronous.

    Raises
    ------
    LibraryError
        If a worker refuses the library, which no worker has then: it is for another platform, or
        the loader does not take it there, as when a library that it depends on is missing. Also if
        the library has no file, or is part of the system's C library.

    Notes
    -----
    The file is sent once to each worker, through the scheduler, which keeps it in memory for those
    that join later; a second `ship` of the same file sends nothing. It is also sent to workers that
    have it under its path, as that file may change. A worker writes it to a folder of its own that
    only its user may enter, in its ``local_directory``, and loads it in a child process to see
    whether that works. A worker that joins later and refuses the library runs other tasks; those
    that need the library raise `LibraryError`, with the worker's reason.

    Only the file itself is sent: libraries that it depends on must be where the loader finds them.
    """
    if isinstance(library, Function):
        library = library.library
    if not isinstance(library, Library):
        kind = type(library).__name__
        raise TypeError(f"ship: library: expected a Library or a Function, got {kind}")
    return client.sync(_ship, client, _plugin(library))


def _plugin(library: Library) -> LibraryPlugin:
    """Return the plugin that has a library's file."""
    from ._plugin import LibraryPlugin

    path = library.path
    _, _, header = _pickling.arguments_of(library)
    if isinstance(header, Compilation):
        raise LibraryError(
            "ship: library: expected a library that is a file, got one of mapcall.compile, which "
            "workers compile themselves; without a compiler there, compile it with cache=True and "
            "ship mapcall.load(library.path)"
        )
    if path is None:
        raise LibraryError(
            "ship: library: expected a library that is a file, got the process; each worker has "
            "its own C library, in which mapcall.load(None) finds functions there"
        )
    with open(path, "rb") as file:
        data = file.read()
    if b"\0GLIBC_PRIVATE\0" in data or os.path.basename(path).startswith(("ld-musl", "libc.musl")):
        raise LibraryError(
            f"ship: library: expected a library of your own, got {path}, a part of the system's C "
            "library, of which a process must not have two; call mapcall.load in the task, so that "
            "each worker loads its own"
        )
    headers = {} if header is None else {_pickling.header_key(header): _preprocess(header)}
    return LibraryPlugin(os.path.basename(path), _pickling.digest_of(data), data, headers)


def _preprocess(header: HeaderFiles) -> str:
    """Return the text of a header that needs no preprocessor, nor other headers."""
    given, include, define, prototypes, texts = header
    # The first declaration of a function counts, where no line markers tell the files.
    headers = (given,) if isinstance(given, str) else given
    names = (*headers, *prototypes)
    including = [
        f'#include "{os.path.abspath(name)}"' if os.path.isfile(name) else f"#include <{name}>"
        for name in names
    ]
    including[len(headers) : len(headers)] = texts
    compiler = shlex.split(os.environ.get("CC") or "cc")
    macros = (f"-D{key}" if value is None else f"-D{key}={value}" for key, value in define.items())
    folders = (*(f"-I{folder}" for folder in include), f"-idirafter{own_folder()}")
    command = [*compiler, "-E", "-P", "-w", "-xc", "-D__mapcall__=1", *folders, *macros]
    try:
        lines = "\n".join((*including, ""))
        run = subprocess.run([*command, "-"], input=lines, capture_output=True, text=True)
    except OSError:
        # Without a compiler, mapcall has read the text or the file itself.
        if not names:
            return "\n".join(texts)
        [name, *more] = (*names, *texts)
        for path in (name, *(os.path.join(folder, name) for folder in include)):
            if not more and os.path.isfile(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    return file.read()
        raise
    if run.returncode != 0:
        raise LibraryError(
            f"ship: {', '.join(names)}: expected a header, got an error of {command[0]}: "
            f"{run.stderr}"
        )
    return run.stdout


async def _ship(client: Client, plugin: LibraryPlugin) -> None:
    name = plugin.name
    is_new = not await client.run_on_scheduler(_is_registered, name)
    if is_new:
        await client.register_plugin(plugin, name=name)
    found = await client.run(_refusal, name, on_error="return")
    # A worker that does not answer has died; it gets the plugin when it is back.
    refusals = {worker: reason for worker, reason in found.items() if isinstance(reason, str)}
    if not refusals:
        return
    if is_new:
        await client.unregister_worker_plugin(name)
    reasons = [f"{worker}: {reason}" for worker, reason in sorted(refusals.items())]
    more = f"; and {len(reasons) - LISTED} more" if len(reasons) > LISTED else ""
    raise LibraryError(
        f"ship: library: expected {plugin.file}, with all that it depends on, to load on each "
        f"worker, got refusals of {'; '.join(reasons[:LISTED])}{more}"
    )


def _is_registered(name: str, dask_scheduler: Scheduler) -> bool:
    return name in dask_scheduler.worker_plugins


def _refusal(name: str, dask_worker: Worker) -> str | None:
    """Return why a worker has refused a library; None as well if it is about to get it."""
    return getattr(dask_worker.plugins.get(name), "refusal", None)
