"""Plain downloads that end in the right bytes or in a reason, with the standard library."""

from __future__ import annotations

import email.utils
import html
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
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urljoin
from urllib.request import Request, urlopen

from tqdm import tqdm

from ddrnet.errors import WeightsUnavailableError
from ddrnet.weights.row import WebFile

logger = logging.getLogger(__name__)

ATTEMPTS = 5
"""Requests without progress after which a link is given up."""

FIRST_WAIT = 0.5
"""Seconds before the second attempt; every further wait is twice as long."""

LONGEST_WAIT = 30.0
"""Seconds; a server that asks for more patience is given up."""

TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that may be gone a moment later."""

CHUNK = 1 << 18
_PAGE_START = 256

_DROPPED = (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


class SourceError(WeightsUnavailableError):
    """One source failed; the message is the reason, and the next source is tried."""


def download(source: WebFile, target: Path) -> None:
    """Fetch the first link of `source` that works.

    Args:
        source: The file. Its hash is not looked at here.
        target: Is overwritten; holds the whole body or, after an error, anything.

    Raises:
        SourceError: If no link works; the message says why.
        OSError: If `target` cannot be written.
    """
    reasons = []
    for link in source.links:
        try:
            return _download_link(link, target)
        except SourceError as error:
            reasons.append(str(error))
    raise SourceError("; ".join(dict.fromkeys(reasons)))


def _download_link(link: str, target: Path) -> None:
    """Fetch one link; where a page asks to confirm a large download, do so once."""
    with target.open("wb") as file:
        page = _Transfer(link, file).run()
        confirmed = _confirmation_link(page, link)
        if confirmed:
            file.seek(0)
            file.truncate()
            page = _Transfer(confirmed, file).run()
    if page:
        raise SourceError(
            f"got a web page instead of the file ({_title(page)}): a quota, a permission or a "
            "log-in stands in between"
        )


@dataclass
class _Transfer:
    """A body on its way into a file: what has arrived, and what the server said about it."""

    link: str
    file: BinaryIO
    total: int | None = None
    validator: str = ""
    progress: tqdm[None] = field(init=False)

    def run(self) -> str:
        """Fetch until all is there; return the text of a web page if that is what came.

        Raises:
            SourceError: If the server refuses or makes no progress.
        """
        failures, furthest = 0, 0
        with _progress_bar(self.link) as self.progress:
            while True:
                try:
                    return self._advance()
                except (URLError, *_DROPPED) as error:
                    furthest, before = max(furthest, self.file.tell()), furthest
                    failures = 1 if furthest > before else failures + 1
                    _wait_or_give_up(error, failures)

    def _advance(self) -> str:
        """Make one request for what is missing."""
        with _opened(self._request()) as response:
            self._start(response)
            with _of_the_connection():
                chunk = response.read(_PAGE_START)
                if self.file.tell() == 0 and _is_web_page(chunk):
                    return str((chunk + response.read(CHUNK)).decode(errors="replace"))
            while chunk:
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
        """Go on where the last attempt ended if the server does; start over if not."""
        if response.status == http.client.PARTIAL_CONTENT:
            self._check_part(response.headers.get("Content-Range", ""))
        else:
            self.file.seek(0)
            self.file.truncate()
            length = response.headers.get("Content-Length")
            self.total = int(length) if length and length.isdigit() else None
            self.validator = _validator(response)
        self.progress.reset(self.total)
        self.progress.update(self.file.tell())

    def _check_part(self, content_range: str) -> None:
        """Raise unless the part begins where the file ends; then the next attempt starts over."""
        if content_range.startswith(f"bytes {self.file.tell()}-"):
            return
        self.validator = ""
        raise ConnectionError(f"got another part than the one asked for, {content_range!r}")


@contextmanager
def _opened(request: Request) -> Iterator[http.client.HTTPResponse]:
    """Send a request.

    Raises:
        SourceError: If the server redirects to something that is no address, or from https to a
            connection that anybody on the way can change.
    """
    try:
        response = urlopen(request, timeout=_timeout())
    except ValueError as error:
        raise SourceError(f"redirected to a malformed address: {error}") from error
    with response:
        if request.full_url.startswith("https:") and not response.url.startswith("https:"):
            address = response.url.partition("?")[0]
            raise SourceError(f"redirected from https to {address}")
        yield response


@contextmanager
def _of_the_connection() -> Iterator[None]:
    """Turn whatever breaks a connection into one kind of error; the disk raises others."""
    try:
        yield
    except TimeoutError:
        raise
    except OSError as error:
        raise ConnectionError(str(error)) from error


def _wait_or_give_up(error: Exception, failures: int) -> None:
    """Sleep before the next attempt if there should be one.

    Raises:
        SourceError: If another attempt is of no use.
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
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, URLError):
        return f"no connection: {error.reason}"
    if isinstance(error, TimeoutError):
        return f"no answer within {_timeout()} s"
    return f"connection lost: {error or type(error).__name__}"


def _retry_after(error: HTTPError) -> float:
    """Return the seconds a server asks to wait, 0 if it does not."""
    value = error.headers.get("Retry-After", "")
    if value.isdigit():
        return float(value)
    try:
        return email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    except ValueError:
        return 0.0


def _validator(response: http.client.HTTPResponse) -> str:
    """Return what proves that a later part belongs to the same file, or ""."""
    etag = response.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified", "")


def _is_web_page(start: bytes) -> bool:
    return re.match(rb"\s*(<!doctype html|<html|<head)", start, re.IGNORECASE) is not None


def _title(page: str) -> str:
    match = re.search(r"<title[^>]*>(.*?)</title>", page, re.IGNORECASE | re.DOTALL)
    return repr(" ".join(html.unescape(match[1]).split())) if match else "without a title"


def _confirmation_link(page: str, link: str) -> str | None:
    """Return the link behind the button of Google Drive's page about large files."""
    form = re.search(r'<form[^>]*\bid="download-form".*?</form>', page, re.DOTALL)
    action = form and re.search(r'\baction="([^"]+)"', form[0])
    if not form or not action:
        return None
    fields = re.findall(r'<input[^>]*\bname="([^"]+)"[^>]*\bvalue="([^"]*)"', form[0])
    query = urlencode([(name, html.unescape(value)) for name, value in fields])
    return urljoin(link, f"{html.unescape(action[1])}?{query}")


def _progress_bar(link: str) -> tqdm[None]:
    """Return a bar that shows on a terminal only and that TQDM_DISABLE switches off."""
    return tqdm(
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        desc=link.rsplit("/", 1)[-1][:40],
        disable=True if os.environ.get("TQDM_DISABLE") else None,
    )


def _timeout() -> float:
    """Return the seconds without a byte after which a connection counts as lost.

    They are those of huggingface_hub: HF_HUB_DOWNLOAD_TIMEOUT, or 10.
    """
    from huggingface_hub import constants

    return float(constants.HF_HUB_DOWNLOAD_TIMEOUT)
