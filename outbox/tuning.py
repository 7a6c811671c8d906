"""What a process of our own is set to; within an application, nothing of this is ours to change."""

import ctypes

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of <malloc.h>
_LARGE = 1 << 20


def give_large_blocks_back() -> None:
    """Have the system take large blocks back once they are freed; by default glibc keeps those of up to 32 MB, in each
    thread that had one. A no-op without glibc."""
    try:
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)
    except (AttributeError, OSError, TypeError):
        return
