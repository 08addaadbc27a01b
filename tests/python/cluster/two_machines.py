"""Stores on two workers that are as separate as two machines, for test_dask_store_faults.py.

`unshare --net --mount python two_machines.py FOLDER` starts them in namespaces of their own: of
networks, joined by a bridge, and of mounts. All of it is gone when the processes have ended.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import dask.array as da
import pytest

import clusters
import mapcall.dask

NETWORK = "10.213.7"


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(f"{' '.join(command)}: {done.stderr}", file=sys.stderr)
        sys.exit(77)


def machine(number: int, hidden: Path) -> subprocess.Popen[bytes]:
    """Starts a process that holds new namespaces, connects them, and hides a folder there."""
    holder = subprocess.Popen(["unshare", "--net", "--mount", "sleep", "1000"])
    here = Path("/proc/self/ns/net").readlink()
    while Path(f"/proc/{holder.pid}/ns/net").readlink() == here:
        assert holder.poll() is None
        time.sleep(0.01)
    run("ip", "link", "add", f"here{number}", "type", "veth", "peer", "name", f"there{number}")
    run("ip", "link", "set", f"here{number}", "master", "bridge", "up")
    run("ip", "link", "set", f"there{number}", "netns", str(holder.pid))
    inside = entering(holder)
    run(*inside, "ip", "link", "set", "lo", "up")
    run(*inside, "ip", "addr", "add", f"{NETWORK}.{number}/24", "dev", f"there{number}")
    run(*inside, "ip", "link", "set", f"there{number}", "up")
    if number == 3:
        run(*inside, "mount", "-t", "tmpfs", "tmpfs", str(hidden))
    return holder


def entering(holder: subprocess.Popen[bytes]) -> list[str]:
    return ["nsenter", "--net", "--mount", "--target", str(holder.pid)]


def main(folder: Path) -> None:
    shared, hidden = folder / "shared", folder / "hidden"
    for each in (shared, hidden):
        each.mkdir()
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "bridge", "type", "bridge")
    run("ip", "addr", "add", f"{NETWORK}.1/24", "dev", "bridge")
    run("ip", "link", "set", "bridge", "up")
    holders = [machine(number, hidden) for number in (2, 3)]
    preload = folder / "machine.py"
    preload.write_text(
        "import os\n"
        "from mapcall.dask import _store\n"
        "_store.machine = lambda: os.readlink('/proc/self/ns/mnt')\n"
    )
    try:
        with (
            clusters.separate(
                folder,
                [entering(holder) for holder in holders],
                host=f"{NETWORK}.1",
                hosts=[f"{NETWORK}.{number}" for number in (2, 3)],
                options=["--no-nanny", "--preload", str(preload)],
            ) as cluster,
            clusters.client(cluster.address) as client,
        ):
            client.wait_for_workers(2, timeout=60)
            spaces = client.run(lambda: Path("/proc/self/ns/net").readlink())
            assert len({*spaces.values(), Path("/proc/self/ns/net").readlink()}) == 3
            x = da.arange(1 << 20, chunks=12_345)
            stored = mapcall.dask.store(x, shared / "x.npy", sync=True)
            assert (stored == da.arange(1 << 20).compute()).all()
            print("stored")
            with pytest.raises(FileNotFoundError, match="does not see the folder"):
                mapcall.dask.store(x, hidden / "x.npy")
            assert not list(hidden.iterdir())
            print("hidden")
    finally:
        for holder in holders:
            holder.kill()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
