"""The HTTP server of the metrics: whoever can connect must neither hold up the mail nor write into the log."""

import logging
import socket
import sys
import threading
from contextlib import suppress
from http.server import ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from prometheus_client import CollectorRegistry, MetricsHandler

log = logging.getLogger("outbox.metrics")

CLIENTS = 16
"""Connections at once, at most. A scrape takes milliseconds; beyond that, whoever has been there longest gives way."""

PATIENCE = 10.0
"""Seconds for which a client may keep silent."""


class ScrapeServer(ThreadingHTTPServer):
    """Listens as soon as it is made, and answers from `start` to `stop`. Raises OSError where it cannot listen, and
    ValueError where `host` is no name."""

    daemon_threads = True
    allow_reuse_port = False  # newer Pythons share a port that is taken
    request_queue_size = 128  # of the library's 5, who comes beyond them is not heard for a second

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, _, _, _, address = found[0]
        self._clients: dict[socket.socket, None] = {}  # in the order in which they came
        self._changing = threading.Lock()
        handler = type("Scrape", (MetricsHandler,), {"registry": registry, "timeout": PATIENCE})
        super().__init__((str(address[0]), port), handler)

    def server_bind(self) -> None:
        """See socketserver. Here the library asks DNS for a name that nobody needs, however long that takes."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def start(self) -> None:
        """Answer, in a thread of its own."""
        threading.Thread(target=self.serve_forever, name="outbox-metrics", daemon=True).start()

    def stop(self) -> None:
        """Answer nobody any more, and free the port."""
        self.shutdown()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """See socketserver: it calls this for every connection, and `shutdown_request` at its end."""
        with self._changing:
            if len(self._clients) >= CLIENTS:
                longest = next(iter(self._clients))
                del self._clients[longest]
                with suppress(OSError):  # it has just gone
                    longest.shutdown(socket.SHUT_RDWR)
            self._clients[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """See `process_request`."""
        with self._changing:
            self._clients.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  # the signature is the library's
        """A client that goes away is none; the library would print a traceback for it."""
        error = sys.exception()
        if isinstance(error, OSError):
            log.debug("a scrape from %s broke off: %s", client_address[0], error)
        else:
            log.error("a scrape could not be answered", exc_info=error)
