"""Downloads from web links, resumed where they broke off. Loads no torch."""

from __future__ import annotations

import email.utils
import http.client
import logging
import os
import re
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin
from urllib.request import Request

from tqdm import tqdm

from ddrnet.pretrained.connections import SourceError, Watch, opener, watched
from ddrnet.pretrained.web_page import WebPage
from ddrnet.weights.row import WebFile

logger = logging.getLogger(__name__)

ATTEMPTS = 5
"""Number of requests without progress after which a link is given up."""

FIRST_WAIT = 0.5
"""Seconds before the second attempt; each further wait is twice as long."""

LONGEST_WAIT = 30.0
"""Seconds; a link whose server asks for a longer wait is given up."""

TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses after which another attempt may succeed."""

MAX_BYTES = 1 << 30
"""Size of a download at which it is stopped, if the file's size is not known."""

DEADLINE = 3 * 3600.0
"""Seconds after which a transfer is given up."""

CONFIRMATIONS = (
    "https://drive.google.com/",
    "https://docs.google.com/",
    "https://drive.usercontent.google.com/",
)
"""Addresses to which a page about a large file may lead."""

CHUNK = 1 << 18
_PAGE_START, _PAGE = 256, 16 << 10  # bytes of a web page that are looked at, and read
_NUMBER = re.compile("[0-9]{1,18}")
_WEB_PAGE = re.compile(rb"\s*(<!doctype html|<html|<head)", re.IGNORECASE)

_DROPPED = (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


def download(source: WebFile, target: Path) -> None:
    """Fetch the first link of `source` that works.

    Args:
        source: The file. Its hash is not compared here.
        target: The file to overwrite. After an error, its content is undefined.

    Raises:
        SourceError: If no link works; the message gives every reason.
        OSError: If `target` cannot be written.
    """
    reasons = []
    limit = source.size if source.size and source.enforced else MAX_BYTES
    for link in source.links:
        try:
            return _download_link(link, target, limit)
        except SourceError as error:
            reasons.append(str(error))
    raise SourceError("; ".join(dict.fromkeys(reasons)))


def _download_link(link: str, target: Path, limit: int) -> None:
    """Fetch one link; confirm a large download once if a page asks for it."""
    with target.open("wb") as file:
        page = WebPage.parsed(_Transfer(link, file, limit).run())
        if page and page.address:
            file.seek(0)
            file.truncate()
            confirmed = urljoin(link, page.address)
            if not confirmed.startswith(CONFIRMATIONS):
                raise SourceError(f"a page leads to {confirmed[:80]!r}, which is not followed")
            page = WebPage.parsed(_Transfer(confirmed, file, limit).run())
    if page:
        title = repr(" ".join(page.title.split())) if page.title else "without a title"
        raise SourceError(
            f"got a web page instead of the file ({title}): the link needs a log-in or a "
            "permission, or its quota is used up"
        )


@dataclass
class _Transfer:
    """One transfer into a file, over as many requests as it takes.

    Attributes:
        link: The address.
        file: The open file; its position is the number of bytes received so far.
        limit: The most bytes to receive.
        total: Size of the whole body, in bytes; None if the server does not tell it.
        validator: Header value that identifies the version of the body; "" if there is none.
        progress: The progress bar.
    """

    link: str
    file: BinaryIO
    limit: int
    total: int | None = None
    validator: str = ""
    progress: tqdm[None] = field(init=False)

    def run(self) -> str:
        """Fetch the whole body; return the text of a web page if the server sends one, else "".

        Raises:
            SourceError: If the server refuses, or the transfer makes no progress.
        """
        failures, furthest, end = 0, 0, time.monotonic() + DEADLINE
        name = self.link.rsplit("/", 1)[-1][:40]
        # tqdm takes None for: only on a terminal
        disable = True if os.environ.get("TQDM_DISABLE") else None
        units: dict[str, Any] = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
        with tqdm(desc=name, disable=disable, **units) as self.progress:
            while True:
                try:
                    return self._advance()
                except (URLError, *_DROPPED) as error:
                    furthest, before = max(furthest, self.file.tell()), furthest
                    failures = 1 if furthest > before else failures + 1
                    _wait_or_give_up(error, failures)
                    if time.monotonic() > end:
                        raise SourceError(f"not complete after {DEADLINE:.0f} s") from error

    def _advance(self) -> str:
        """Make one request for the missing part."""
        with watched() as watch, _opened(self._request(), watch) as response:
            self._start(response)
            with _of_the_connection():
                chunk = response.read(_PAGE_START)
                if self.file.tell() == 0 and _WEB_PAGE.match(chunk):
                    return str((chunk + response.read(_PAGE)).decode(errors="replace"))
            while chunk:
                watch.received += len(chunk)
                if self.file.tell() + len(chunk) > self.limit:
                    raise SourceError(f"sends more than {self.limit} bytes")
                self.file.write(chunk)
                self.progress.update(len(chunk))
                with _of_the_connection():
                    chunk = response.read1(CHUNK)
        self.file.flush()
        if self.total is not None and self.file.tell() < self.total:
            raise ConnectionError(f"closed after {self.file.tell()} of {self.total} bytes")
        return ""

    def _request(self) -> Request:
        headers = {"User-Agent": "ddrnet"}
        if self.file.tell() and self.validator:
            headers |= {"Range": f"bytes={self.file.tell()}-", "If-Range": self.validator}
        return Request(self.link, headers=headers)

    def _start(self, response: http.client.HTTPResponse) -> None:
        """Continue after the received bytes if the server does so; start over otherwise."""
        if response.status == http.client.PARTIAL_CONTENT:
            part = response.headers.get("Content-Range", "")
            if not part.startswith(f"bytes {self.file.tell()}-"):
                self.validator = ""  # the next attempt starts over
                raise ConnectionError(f"got another part than the requested one, {part!r}")
        else:
            self.file.seek(0)
            self.file.truncate()
            length = response.headers.get("Content-Length")
            if length is not None and not _NUMBER.fullmatch(length):
                raise SourceError(f"sends the Content-Length {length[:40]!a}")
            self.total = None if length is None else int(length)
            if self.total is not None and self.total > self.limit:
                raise SourceError(f"has {self.total} bytes, expected at most {self.limit}")
            etag = response.headers.get("ETag", "")
            is_strong = etag and not etag.startswith("W/")  # a weak tag does not identify bytes
            self.validator = etag if is_strong else response.headers.get("Last-Modified", "")
        self.progress.reset(self.total)
        self.progress.update(self.file.tell())


@contextmanager
def _opened(request: Request, watch: Watch) -> Iterator[http.client.HTTPResponse]:
    """Send a request over http or https.

    Raises:
        SourceError: If the server redirects to a malformed address, or from https to an insecure
            connection.
    """
    try:
        response = opener(watch).open(request, timeout=_timeout())
    except ValueError as error:
        raise SourceError(f"redirected to a malformed address: {error}") from error
    with response:
        yield response


@contextmanager
def _of_the_connection() -> Iterator[None]:
    """Turn every error of a connection into a `ConnectionError`; errors of the disk stay apart."""
    try:
        yield
    except TimeoutError:
        raise
    except OSError as error:
        raise ConnectionError(str(error)) from error


def _wait_or_give_up(error: Exception, failures: int) -> None:
    """Sleep before the next attempt.

    Raises:
        SourceError: If another attempt would not help.
    """
    wait = FIRST_WAIT * 2 ** (failures - 1)
    if isinstance(error, HTTPError):
        wait = max(wait, _retry_after(error))
    if not _is_transient(error) or failures >= ATTEMPTS or wait > LONGEST_WAIT:
        raise SourceError(_reason(error)) from error
    logger.info("%s; trying again in %.1f s", _reason(error), wait)
    time.sleep(wait)


def _is_transient(error: Exception) -> bool:
    if isinstance(error, HTTPError):
        return error.code in TRANSIENT_STATUSES
    cause = error.reason if isinstance(error, URLError) else error
    return isinstance(cause, _DROPPED) and not isinstance(
        cause, ConnectionRefusedError | ssl.SSLCertVerificationError
    )


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        words = "".join(letter if letter.isprintable() else "?" for letter in str(error.reason))
        return f"HTTP {error.code} {words[:80]}"
    if isinstance(error, URLError):
        return f"no connection: {error.reason}"
    if isinstance(error, TimeoutError):
        return f"no answer within {_timeout()} s"
    return f"connection lost: {error or type(error).__name__}"


def _retry_after(error: HTTPError) -> float:
    """Return the seconds that a server asks to wait; 0 if it does not ask."""
    value = error.headers.get("Retry-After", "")
    if _NUMBER.fullmatch(value):
        return float(value)
    try:
        return email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError, OSError):
        return 0.0


def _timeout() -> float:
    """Return the seconds without data after which a connection counts as lost.

    huggingface_hub sets them: HF_HUB_DOWNLOAD_TIMEOUT, by default 10.
    """
    from huggingface_hub import constants

    return float(constants.HF_HUB_DOWNLOAD_TIMEOUT)
