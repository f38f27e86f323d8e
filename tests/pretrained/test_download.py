"""Plain downloads against a server that misbehaves."""

import contextlib
import errno
import http.client
import io
import os
import socket
import sys
import threading
import time

import pytest
from huggingface_hub import constants
from loopback import Reply

from ddrnet.pretrained import connections
from ddrnet.pretrained import download as module
from ddrnet.pretrained.connections import SourceError
from ddrnet.pretrained.download import download
from ddrnet.weights import ROWS
from ddrnet.weights.row import WebFile

BODY = os.urandom(700_001)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)


def fetch(server, path, *replies, folder):
    target = folder / "file"
    download(WebFile((server.serve(path, *replies),)), target)
    return target.read_bytes()


@pytest.mark.parametrize(
    ("replies", "requests"),
    [
        pytest.param([Reply(BODY)], 1, id="good"),
        pytest.param([Reply(BODY, length=False)], 1, id="without a length"),
        pytest.param([Reply(status=503), Reply(status=503), Reply(BODY)], 3, id="503 twice"),
        pytest.param([Reply(status=429), Reply(BODY)], 2, id="429"),
        pytest.param([Reply(BODY, cut=300_000), Reply(BODY)], 2, id="cut half way, resumed"),
        pytest.param(
            [Reply(BODY, cut=300_000, ranges=False), Reply(BODY, ranges=False)],
            2,
            id="cut half way, started over",
        ),
        pytest.param([Reply(BODY, cut=0), Reply(BODY)], 2, id="cut at once"),
        pytest.param([Reply(BODY, stall=0.1)], 1, id="slow"),
        pytest.param([Reply(BODY, stall=1), Reply(BODY)], 2, id="stalled"),
    ],
)
def test_recovers(server, tmp_path, replies, requests):
    assert fetch(server, "/file.pth", *replies, folder=tmp_path) == BODY
    assert server.count("GET") == requests


def test_resumes_where_it_was_cut(server, tmp_path):
    fetch(server, "/file.pth", Reply(BODY, cut=300_000), Reply(BODY), folder=tmp_path)
    assert server.ranges == [None, "bytes=300000-"]


def test_starts_over_when_the_file_changed_in_between(server, tmp_path):
    other = os.urandom(500_000)
    replies = [Reply(BODY, cut=300_000), Reply(other)]
    assert fetch(server, "/file.pth", *replies, folder=tmp_path) == other


def test_starts_over_when_another_part_comes(server, tmp_path):
    whole = Reply(BODY, 206, headers={"Content-Range": "bytes 0-700000/700001"})
    replies = [Reply(BODY, cut=300_000), whole, Reply(BODY)]
    assert fetch(server, "/file.pth", *replies, folder=tmp_path) == BODY


def test_a_network_that_goes_away_is_not_taken_for_the_disk(server, tmp_path, monkeypatch):
    read1 = http.client.HTTPResponse.read1
    lost = [OSError(errno.EHOSTUNREACH, "No route to host")]

    def read_or_lose(response, size):
        if lost:
            raise lost.pop()
        return read1(response, size)

    monkeypatch.setattr(http.client.HTTPResponse, "read1", read_or_lose)
    assert fetch(server, "/file.pth", BODY, folder=tmp_path) == BODY
    assert server.count("GET") == 2


@pytest.mark.parametrize("link", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:,x"])
def test_other_protocols_are_not_spoken(server, tmp_path, link):
    with pytest.raises(SourceError, match="unknown url type"):
        download(WebFile((link,)), tmp_path / "file")
    moved = Reply(status=302, headers={"Location": link})
    with pytest.raises(SourceError, match=r"redirected from http to|HTTP 302"):
        fetch(server, "/file.pth", moved, folder=tmp_path)


def test_refuses_to_leave_https(server, tmp_path, monkeypatch):
    """The loopback server speaks no TLS, so a plain connection stands in for the secure one."""
    monkeypatch.setattr(connections, "_SecureConnection", connections._Connection)
    server.serve("/elsewhere.pth?secret=1", BODY)
    moved = Reply(status=302, headers={"Location": f"{server.url}/elsewhere.pth?secret=1"})
    link = server.serve("/file.pth", moved).replace("http:", "https:")
    with pytest.raises(SourceError) as error:
        download(WebFile((link,)), tmp_path / "file")
    assert str(error.value) == f"redirected from https to '{server.url}/elsewhere.pth'"
    assert server.count("GET") == 1, "the other address was never asked"


def test_every_published_source_is_https():
    links = [
        link for row in ROWS for source in row.sources for link in getattr(source, "links", ())
    ]
    assert links
    assert all(link.startswith("https://") for link in links)


def test_stops_at_the_known_size(server, tmp_path):
    link = server.serve("/file.pth", Reply(BODY, length=False))
    known = WebFile((link,), sha256="0" * 64, size=len(BODY) - 1)
    with pytest.raises(SourceError, match="sends more than 700000 bytes"):
        download(known, tmp_path / "file")
    assert (tmp_path / "file").stat().st_size < len(BODY)
    server.serve("/file.pth", BODY)
    with pytest.raises(SourceError, match="has 700001 bytes, expected at most 700000"):
        download(known, tmp_path / "file")


def test_stops_at_a_limit_where_no_size_is_known(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 500_000)
    for reply in (Reply(BODY, length=False), Reply(BODY)):
        with pytest.raises(SourceError, match="500000"):
            fetch(server, "/file.pth", reply, folder=tmp_path)


@pytest.mark.parametrize("length", ["\xb2", "1e3", "+5", "-5", "0x10", "9" * 400, ""])
def test_an_odd_content_length_is_an_error_of_the_source(server, tmp_path, length):
    reply = Reply(BODY, length=False, headers={"Content-Length": length})
    with pytest.raises(SourceError, match=r"sends the Content-Length|connection lost|HTTP 400"):
        fetch(server, "/file.pth", reply, folder=tmp_path)


@pytest.mark.parametrize("length", [True, False])
def test_a_trickle_is_cut(server, tmp_path, monkeypatch, length):
    monkeypatch.setattr(connections, "PERIOD", 0.3)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 5)
    with pytest.raises(SourceError, match="the server sent less than"):
        fetch(server, "/file.pth", Reply(BODY, trickle=0.05, length=length), folder=tmp_path)


def test_trickling_headers_are_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "PERIOD", 0.3)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 5)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=send_slowly, args=(listening,), daemon=True).start()
        link = f"http://127.0.0.1:{listening.getsockname()[1]}/file.pth"
        with pytest.raises(SourceError, match="the server sent less than"):
            download(WebFile((link,)), tmp_path / "file")


def send_slowly(listening):
    connected, _ = listening.accept()
    with connected, contextlib.suppress(OSError):
        connected.sendall(b"HTTP/1.1 200 OK\r\nX-Header: ")
        while True:
            connected.sendall(b"x")
            time.sleep(0.05)


def test_a_transfer_ends_at_its_deadline(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "DEADLINE", 0.0)
    with pytest.raises(SourceError, match="not complete after 0 s"):
        fetch(server, "/file.pth", Reply(BODY, cut=9), Reply(BODY), folder=tmp_path)


def test_a_server_that_always_cuts_but_resumes_gets_there(server, tmp_path):
    replies = [Reply(BODY, cut=cut) for cut in [90_000] * 7] + [Reply(BODY)]
    assert fetch(server, "/file.pth", *replies, folder=tmp_path) == BODY


def test_follows_redirects(server, tmp_path):
    server.serve("/elsewhere/file.pth", BODY)
    moved = Reply(status=302, headers={"Location": "/elsewhere/file.pth"})
    assert fetch(server, "/file.pth", moved, folder=tmp_path) == BODY


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        pytest.param(Reply(status=404), "HTTP 404", id="missing"),
        pytest.param(Reply(status=403), "HTTP 403", id="forbidden"),
        pytest.param(Reply(status=503), "HTTP 503", id="down"),
        pytest.param(Reply(BODY, cut=10, ranges=False), "closed after 10 of 700001", id="cut"),
        pytest.param(Reply(BODY, stall=1, ranges=False), "no answer within 0.2 s", id="stalled"),
        pytest.param(
            Reply(status=503, headers={"Retry-After": "3600"}), "HTTP 503", id="back in an hour"
        ),
        pytest.param(Reply(status=302, headers={"Location": "/file.pth"}), "HTTP 302", id="loop"),
        pytest.param(
            Reply(status=302, headers={"Location": "http://[0"}), "malformed", id="nowhere"
        ),
        pytest.param(
            Reply(b"<!DOCTYPE html><html><head><title>Quota exceeded</title></head></html>"),
            "web page instead of the file ('Quota exceeded')",
            id="quota page with status 200",
        ),
        pytest.param(Reply(b"\n <HTML><body>x"), "(without a title)", id="bare page"),
    ],
)
def test_gives_the_reason(server, tmp_path, reply, reason):
    with pytest.raises(SourceError) as error:
        fetch(server, "/file.pth", reply, folder=tmp_path)
    assert reason in str(error.value)


def test_gives_up_at_once_where_waiting_is_of_no_use(server, tmp_path):
    for status in (404, 403, 410):
        with pytest.raises(SourceError):
            fetch(server, f"/{status}", Reply(status=status), folder=tmp_path)
    assert server.count("GET") == 3


def test_nobody_there(tmp_path):
    with pytest.raises(SourceError, match=r"no connection: .*refused"):
        download(WebFile(("http://127.0.0.1:9/file.pth",)), tmp_path / "file")


def test_takes_the_second_link_and_names_every_reason(server, tmp_path):
    first, second = server.serve("/first", Reply(status=404)), server.serve("/second", BODY)
    download(WebFile((first, second)), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BODY
    server.serve("/second", Reply(status=410))
    with pytest.raises(SourceError, match=r"HTTP 404.*; HTTP 410"):
        download(WebFile((first, second)), tmp_path / "file")


@pytest.mark.parametrize(
    "action",
    [
        "file:///etc/hostname",
        "http://drive.google.com/download",
        "https://drive.google.com@127.0.0.1/download",
        "https://drive.google.com.example/download",
        "//127.0.0.1/download",
    ],
)
def test_a_page_leads_nowhere_but_to_google(server, tmp_path, action):
    form = f'<form id="download-form" action="{action}"><input name="id" value="a"></form>'
    with pytest.raises(SourceError, match=r"a page leads to .*, which is not followed"):
        fetch(server, "/uc?id=abc", f"<html>{form}".encode(), folder=tmp_path)


@pytest.mark.parametrize("part", [b"<form", b"<title", b"<!--", b"<input name=x value=y>", b"<![x"])
def test_a_hostile_page_is_read_in_part(server, tmp_path, part):
    with pytest.raises(SourceError, match="got a web page"):
        fetch(server, "/uc?id=abc", b"<html>" + part * 60_000, folder=tmp_path)


def test_presses_the_button_on_the_page_about_large_files(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CONFIRMATIONS", (f"{server.url}/",))
    page = """<!DOCTYPE html><html><title>Virus scan warning</title>
        <form id="download-form" action="/download" method="get">
        <input type="submit" id="uc" value="Download anyway"/>
        <input type="hidden" name="id" value="abc"><input type="hidden" name="confirm" value="t">
        <input type="hidden" name="at" value="a&amp;b"></form></html>"""
    server.serve("/download?id=abc&confirm=t&at=a%26b", BODY)
    assert fetch(server, "/uc?id=abc", page.encode(), folder=tmp_path) == BODY
    server.serve("/download?id=abc&confirm=t&at=a%26b", b"<html><title>Too many</title>")
    with pytest.raises(SourceError, match="Too many"):
        fetch(server, "/uc?id=abc", page.encode(), folder=tmp_path)


def test_waits_as_long_as_the_server_asks(server, tmp_path):
    asked = Reply(status=429, headers={"Retry-After": "1"})
    begin = time.monotonic()
    fetch(server, "/file.pth", asked, Reply(BODY), folder=tmp_path)
    assert time.monotonic() - begin >= 1


@pytest.mark.parametrize(
    "value", ["soon", "", "Wed, 21 Oct 2015 07:28:00 GMT", "\xb2", "Wed, 21 Oct 99999 07:28:00 GMT"]
)
def test_an_odd_retry_after_does_not_matter(server, tmp_path, value):
    asked = Reply(status=503, headers={"Retry-After": value})
    assert fetch(server, "/file.pth", asked, Reply(BODY), folder=tmp_path) == BODY


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "disabled", "shown"),
    [(Terminal, "", True), (Terminal, "1", False), (io.StringIO, "", False)],
)
def test_a_progress_bar_shows_on_a_terminal_alone(
    server, tmp_path, monkeypatch, stream, disabled, shown
):
    monkeypatch.setenv("TQDM_DISABLE", disabled)
    monkeypatch.setattr("sys.stderr", stream())
    fetch(server, "/file.pth", Reply(BODY), folder=tmp_path)
    assert ("file.pth: 100%" in sys.stderr.getvalue()) == shown
