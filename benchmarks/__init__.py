"""The benchmarks: what sending from the database costs, beside the raw aiosmtplib loop that sends from memory.

`make bench` runs them; docs/benchmarks.md says what they measure and what came out. Not part of the wheel.
"""
