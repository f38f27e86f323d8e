import os
import shutil
import subprocess
import sys
import textwrap

import pytest
from PIL import features

from ddrnet.errors import DDRNetError
from ddrnet.predictor.video import VideoWindow

START = """
import os
import numpy as np
from PIL import ImageGrab
from ddrnet.predictor.video import VideoWindow

def frame(height, width, color=(0, 255, 0)):
    return np.full((height, width, 3), color, np.uint8)

def shown(color=(0, 255, 0)):
    screen = np.asarray(ImageGrab.grab(xdisplay=os.environ["DISPLAY"]).convert("RGB"))
    rows, columns = np.nonzero((screen == color).all(axis=2))
    return (np.ptp(rows) + 1, np.ptp(columns) + 1, len(rows)) if len(rows) else None
"""


@pytest.fixture(scope="module")
def display():
    """The name of a screen of 400 x 300 pixels."""
    pytest.importorskip("tkinter")
    if not shutil.which("Xvfb") or not features.check_feature("xcb"):
        pytest.skip("needs Xvfb and Pillow with XCB")
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "400x300x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[writer], stderr=subprocess.DEVNULL) as server:
        os.close(writer)
        with os.fdopen(reader) as numbers:
            yield f":{numbers.readline().strip()}"
        server.terminate()


@pytest.fixture
def run(display):
    """Run a program with the display; a process of its own, as X ends its clients with itself."""

    def run(program):
        command = [sys.executable, "-c", START + textwrap.dedent(program)]
        environment = {**os.environ, "DISPLAY": display}
        subprocess.run(command, check=True, env=environment, timeout=60)

    return run


def test_shows_frames_and_reduces_those_larger_than_the_screen(run):
    run("""
        with VideoWindow() as window:
            assert window.show(frame(48, 64, (200, 10, 20)))
            assert shown((200, 10, 20)) == (48, 64, 48 * 64)
            assert window.show(frame(48, 64))
            assert shown() == (48, 64, 48 * 64)
            assert window.show(frame(70, 90))
            assert shown() == (70, 90, 70 * 90)
            window.show(frame(1024, 2048))
            assert shown() == (180, 360, 180 * 360)
        assert shown() is None
    """)


def test_keys_and_the_close_button_close_the_window(run):
    run("""
        def press(key):
            window._root.focus_force()
            window._root.update()
            window._root.event_generate(key)

        ways = (
            lambda: press("<Escape>"),
            lambda: press("<q>"),
            lambda: window._root.tk.call(window._root.protocol("WM_DELETE_WINDOW")),
        )
        for close in ways:
            with VideoWindow() as window:
                assert window.show(frame(48, 64))
                close()
                assert not window.show(frame(48, 64))
                assert not window.show(frame(48, 64))
                assert shown() is None
    """)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no DISPLAY")
def test_says_that_there_is_no_display(monkeypatch):
    pytest.importorskip("tkinter")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(DDRNetError, match="no display"):
        VideoWindow()


def test_says_that_tkinter_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "tkinter", None)
    with pytest.raises(DDRNetError, match="python3-tk"):
        VideoWindow()
