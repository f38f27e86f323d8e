"""The server of examples/serve.py, asked over the loopback device."""

import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ddrnet

EXAMPLE = Path(__file__).parents[2] / "examples" / "serve.py"
LONGEST_WAIT = 180  # seconds
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture
def address():
    """The address of a server in processes of its own, which answers."""
    pytest.importorskip("litserve")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    paths = os.pathsep.join([str(EXAMPLE.parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"DDRNET_MODEL": "ddrnet_23_nano.camvid", "PYTHONPATH": paths}
    code = (
        "import litserve, serve\n"
        "server = litserve.LitServer(serve.SegmentationAPI())\n"
        f"server.run('127.0.0.1', {port}, generate_client_file=False)\n"
    )
    server = subprocess.Popen([sys.executable, "-c", code], env=environment, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/health", server)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # its workers too
        server.wait()


def wait_for(address, server):
    end = time.monotonic() + LONGEST_WAIT
    while time.monotonic() < end and server.poll() is None:
        try:
            with DIRECT.open(address, timeout=LONGEST_WAIT):
                return
        except OSError:  # it does not listen yet, or has no model yet
            time.sleep(0.2)
    pytest.fail("the server did not start")


def ask(address, content):
    body = json.dumps({"image": base64.b64encode(content).decode()}).encode()
    request = urllib.request.Request(
        f"{address}/predict", body, {"Content-Type": "application/json"}
    )
    with DIRECT.open(request, timeout=LONGEST_WAIT) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_it_answers_with_the_labels_of_the_predictor(address):
    image, _ = ddrnet.data.SyntheticStreets(1, (96, 160))[0]
    street = Image.fromarray(image.permute(1, 2, 0).numpy())
    street.save(content := io.BytesIO(), "PNG")
    expected = ddrnet.Predictor("ddrnet_23_nano.camvid")(street)
    with pytest.raises(urllib.error.HTTPError):
        ask(address, b"no image")
    for _ in range(2):
        answer = ask(address, content.getvalue())
        labels = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["labels"]))))
        assert np.array_equal(labels, expected.labels)
        assert answer["shares"] == pytest.approx(expected.shares())


def test_the_example_is_short():
    assert len(EXAMPLE.read_text().splitlines()) <= 25
