"""Array files and C functions on Dask: from one core to a cluster.

>>> import mapcall.dask
>>> import numpy as np
>>> np.save("x.npy", np.linspace(0, 1, 1_000_000))
>>> erf = mapcall.load("m").function("double erf(double x)")
>>> x = mapcall.dask.open("x.npy")                  # or mapcall.open("x.npy").to_dask()
>>> y = erf(x)                                      # a graph; nothing is computed yet
>>> mapcall.dask.store(y, "y.npy").shape            # each block is written where it was computed
(1000000,)

- `open`: opens array files as a Dask array, whose blocks are opened where they are used.
- `memmap.to_dask <mapcall.memmap.to_dask>`: the same for an array that is open.
- A bound function that is called with Dask arrays returns Dask arrays.
- `store`: computes Dask arrays into ``.npy`` files.
- `ship`: sends a library to all workers.

It needs Dask: ``pip install 'mapcall[dask]'``. ``docs/cluster.md`` of the repository is a guide.
"""

from . import _requirement as _requirement
from ._arrays import open
from ._ship import ship
from ._store import store

__all__ = ["open", "ship", "store"]
open.__module__ = ship.__module__ = store.__module__ = __name__
