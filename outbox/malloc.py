"""Memory that is given back: by default glibc keeps freed blocks of up to 32 MB, in each thread that had one."""

import ctypes

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of <malloc.h>
_LARGE = 1 << 20


def give_large_blocks_back() -> None:
    """Have the system take large blocks back once they are freed, in the whole process. A no-op without glibc."""
    try:
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)
    except (AttributeError, OSError, TypeError):
        return
