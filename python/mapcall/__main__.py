"""The command `mapcall`, as ``python -m mapcall``."""

import sys

from _mapcall_command import main

if __name__ == "__main__":
    sys.exit(main())
