"""The folder of `mapcall.h`."""

from __future__ import annotations

import os


def include() -> str:
    """Return the folder of ``mapcall.h``, for the option ``-I`` of a C compiler.

    >>> import mapcall
    >>> import os
    >>> "mapcall.h" in os.listdir(mapcall.include())
    True

    The header has the macros of the notations that a library's own header can carry for mapcall. A
    compiler reads those that it knows; the header defines the others away.

    Returns
    -------
    str
        The path of the folder.

    See Also
    --------
    load : Reads headers, and finds ``mapcall.h`` without this folder.
    numpy.get_include : The folder of NumPy's headers.
    """
    return os.path.join(os.path.dirname(__file__), "include")
