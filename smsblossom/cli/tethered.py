"""Run a module as a child that ends with its parent, however the parent ends.

    python -m smsblossom.cli.tethered PARENT MODULE ARGUMENTS...

The child leaves the terminal's process group: Ctrl-C reaches the parent alone, which stops its children in order.
Where the platform has no death signal (it is Linux's), a child of a killed parent stays until it is ended by hand.
"""

import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    parent, module = int(argv[0]), argv[1]
    os.setsid()
    _die_with_parent()
    if os.getppid() != parent:
        sys.exit(1)  # it ended before the signal was set
    sys.argv = [module, *argv[2:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _die_with_parent() -> None:
    try:
        from ctypes import CDLL

        CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    except (ImportError, OSError, AttributeError):
        return


if __name__ == "__main__":
    main(sys.argv[1:])
