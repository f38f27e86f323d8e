"""HTTP connections that cannot lead elsewhere and cannot be kept open for ever. Loads no torch."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.client import HTTPMessage
from typing import IO, Any
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from ddrnet.errors import WeightsUnavailableError

MIN_RATE = 1024.0
"""Bytes per second; a slower connection is cut."""

PERIOD = 60.0
"""Seconds over which the rate of a connection is measured."""


class SourceError(WeightsUnavailableError):
    """A source failed; the message gives the reason, and the next source is tried."""


class Watch:
    """Cuts a connection that is too slow: one that waits for every byte would last for ever.

    Attributes:
        received: Bytes received so far; the reader counts them.
        was_cut: Whether the connection was cut.
    """

    def __init__(self) -> None:
        self.received = 0
        self.was_cut = False
        self._sockets: list[socket.socket] = []
        self._ended = threading.Event()

    def add(self, connected: socket.socket) -> None:
        """Watch a connection."""
        self._sockets.append(connected)

    def end(self) -> None:
        """Stop watching."""
        self._ended.set()

    def run(self) -> None:
        """Measure the rate again and again; cut the connections when it is too low."""
        before = 0
        while not self._ended.wait(PERIOD):
            if self.received - before < MIN_RATE * PERIOD:
                self.was_cut = True
                for connected in self._sockets:
                    with suppress(OSError):  # it is closed already
                        connected.shutdown(socket.SHUT_RDWR)
                return
            before = self.received


@contextmanager
def watched() -> Iterator[Watch]:
    """Watch the connections of a block.

    Raises:
        SourceError: If they were cut; another attempt would be as slow.
    """
    watch = Watch()
    threading.Thread(target=watch.run, daemon=True).start()
    try:
        yield watch
    except (OSError, http.client.HTTPException) as error:
        if watch.was_cut:
            raise SourceError(_SLOW) from error
        raise
    finally:
        watch.end()
    if watch.was_cut:  # a connection without Content-Length seems to be complete
        raise SourceError(_SLOW)


_SLOW = f"the server sent less than {MIN_RATE:.0f} bytes/s for {PERIOD:.0f} s"


def opener(watch: Watch) -> OpenerDirector:
    """Return an opener of http and https addresses alone, whose connections are watched."""
    director = OpenerDirector()
    for handler in (
        ProxyHandler(),
        UnknownHandler(),
        _Http(watch),
        _Https(watch),
        HTTPDefaultErrorHandler(),
        _Redirects(),
        HTTPErrorProcessor(),
    ):
        director.add_handler(handler)
    return director


class _Redirects(HTTPRedirectHandler):
    """Follows no redirect to another protocol, or from https to http."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        """Return the next request.

        Raises:
            SourceError: If it leads to another protocol.
        """
        scheme = urlsplit(newurl).scheme
        if scheme != "https" and scheme != req.type:
            raise SourceError(f"redirected from {req.type} to {newurl.partition('?')[0][:80]!r}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Connection(http.client.HTTPConnection):
    """A watched connection."""

    def __init__(self, host: str, *, watch: Watch, **options: Any) -> None:
        super().__init__(host, **options)
        self._watch = watch

    def connect(self) -> None:
        super().connect()
        self._watch.add(self.sock)


class _SecureConnection(_Connection, http.client.HTTPSConnection):
    pass


class _Http(HTTPHandler):
    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def http_open(self, req: Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_Connection, watch=self._watch), req)


class _Https(HTTPSHandler):
    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def https_open(self, req: Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_SecureConnection, watch=self._watch), req)
