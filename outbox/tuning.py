"""What a process of our own is set to; within an application, nothing of this is ours to change."""

import ctypes
import gc
import sys

SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread may ask for the interpreter, by default 0.005. The thread that writes to SQLite asks
several times in a transaction, and the dots of the next emails wait for its commit."""

GARBAGE = 20_000
"""Objects made and not freed yet, from which on cycles are looked for, by default 700. An email leaves none behind."""

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of <malloc.h>
_LARGE = 1 << 20


def settle_down() -> None:
    """For a daemon that is built and about to work: what it has by now stays, so nobody need look at it again."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE, 20, 20)


def give_large_blocks_back() -> None:
    """Have the system take large blocks back once they are freed; by default glibc keeps those of up to 32 MB, in each
    thread that had one. A no-op without glibc."""
    try:
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)
    except (AttributeError, OSError, TypeError):
        return
