"""The pure floor: no await, no I/O. Time and randomness come in as arguments."""
