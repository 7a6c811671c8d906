"""`python -m outbox` is the same as `outbox`."""

from outbox.cli import main

if __name__ == "__main__":  # the pollers of `outbox run --processes` import this module again
    main()
