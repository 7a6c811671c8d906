"""The yardstick, a process of its own: a pool of aiosmtplib connections that sends ready bytes from memory.

`python -m benchmarks.client`, with its options as JSON as the argument. Tells on stdout what sending took.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import aiosmtplib


async def send(port: int, count: int, connections: int, message: str) -> dict[str, float]:
    """Send it so often over so many connections, and tell the seconds and the processor's seconds."""
    content, numbers = message.encode(), iter(range(count))
    pool = [aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) for _ in range(connections)]
    begin, processor = time.monotonic(), time.process_time()
    await asyncio.gather(*(_work(client, numbers, content) for client in pool))
    return {"seconds": time.monotonic() - begin, "processor": time.process_time() - processor}


async def _work(client: aiosmtplib.SMTP, numbers: Iterator[int], content: bytes) -> None:
    async with client:
        for number in numbers:
            await client.sendmail("shop@example.org", [f"r{number}@example.org"], content)


def main() -> None:
    """On the loop that is asked for."""
    options: dict[str, Any] = json.loads(sys.argv[1])
    factory = None
    if options.pop("loop") == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        json.dump(runner.run(send(**options)), sys.stdout)


if __name__ == "__main__":
    main()
