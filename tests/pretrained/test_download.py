"""Plain downloads against a server that misbehaves."""

import errno
import http.client
import io
import os
import sys
import time

import pytest
from huggingface_hub import constants
from loopback import Reply

from ddrnet.pretrained import download as module
from ddrnet.pretrained.download import SourceError, download
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


def test_refuses_to_leave_https(server, tmp_path, monkeypatch):
    elsewhere = server.serve("/file.pth?secret=1", BODY)
    urlopen = module.urlopen
    monkeypatch.setattr(module, "urlopen", lambda _, timeout: urlopen(elsewhere, timeout=timeout))
    with pytest.raises(SourceError) as error:
        download(WebFile(("https://host/file.pth",)), tmp_path / "file")
    assert str(error.value) == f"redirected from https to {server.url}/file.pth"


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


def test_presses_the_button_on_the_page_about_large_files(server, tmp_path):
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


@pytest.mark.parametrize("value", ["soon", "", "Wed, 21 Oct 2015 07:28:00 GMT"])
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
