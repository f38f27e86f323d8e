"""The page that segments in the browser, in Chromium: opened from its folder and from a server."""

import base64
import functools
import gzip
import os
import re
import shutil
import threading
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from exported_files import NAME, expected_logits, lead, nano
from PIL import Image

from ddrnet.cli import main
from ddrnet.data.decoding import decode_image
from ddrnet.streets import render_street

sync_api = pytest.importorskip("playwright.sync_api", reason="the extra dev has playwright")

FOLDER = os.environ.get("DDRNET_BROWSER_PAGE", "")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.skipif(
        not FOLDER,
        reason="build the page first: python docs/browser/build.py OUT (needs npm), and set "
        "DDRNET_BROWSER_PAGE=OUT",
    ),
]

TIMES = "\N{MULTIPLICATION SIGN}"

OFFLINE = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
WEBGL = ["--enable-unsafe-swiftshader"]
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
WEBGPU = [
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--enable-features=Vulkan",
]


class Page:
    """The open page; the methods do what a visitor does."""

    def __init__(self, tab, folder):
        self.tab, self.folder = tab, folder

    def click(self, name):
        self.tab.click(f"#{name}")
        self.wait()

    def choose(self, path):
        self.tab.set_input_files("#file", path)
        self.wait()

    def wait(self):
        self.tab.wait_for_selector("body:not(.busy)", timeout=240_000)

    @property
    def error(self):
        return self.tab.inner_text("#error").replace(TIMES, "x")

    @property
    def status(self):
        return self.tab.inner_text("#status").replace(TIMES, "x")

    def labels(self):
        """The label map (1, H, W) that the page saves, and the name of its file."""
        with self.tab.expect_download() as download:
            self.tab.click("#save")
        path = self.folder / "saved.png"
        download.value.save_as(path)
        pixels = np.array(Image.open(path).convert("RGB"))
        assert (pixels == pixels[..., :1]).all()
        return pixels[None, :, :, 0], download.value.suggested_filename


@contextmanager
def opened(tmp_path, arguments=(), address=None, script=""):
    """Open the page in a browser without network; nothing may ask for another host."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*OFFLINE, *WEBGL, *arguments]
        )
        try:
            tab = browser.new_page(viewport={"width": 1280, "height": 860})
            asked, failures = [], []
            tab.on("request", lambda request: asked.append(request.url))
            tab.on("pageerror", lambda error: failures.append(str(error)))
            tab.on(
                "response",
                lambda answer: answer.status < 400 or failures.append(answer.url),
            )
            tab.add_init_script(script)
            start = address or Path(FOLDER).resolve().as_uri()
            tab.goto(f"{start}/index.html")
            page = Page(tab, tmp_path)
            page.wait()
            yield page
            allowed = (start, "data:", "blob:")
            assert [url for url in asked if not url.startswith(allowed)] == []
            assert failures == []
        finally:
            browser.close()


@contextmanager
def served(folder):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def write_picture(folder, kind):
    """A street as a file of odd size: plain, turned by its EXIF, or with alpha."""
    street = render_street((251, 333), 7, 0).image
    if kind == "plain":
        path = folder / "plain.png"
        street.crop((0, 0, 161, 97)).save(path)
    if kind == "turned":
        path = folder / "turned.jpg"
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was held upright
        street.rotate(90, expand=True).save(path, exif=exif, quality=90)
    if kind == "alpha":
        path = folder / "alpha.png"
        alpha = np.linspace(0, 255, 333).astype(np.uint8)[None].repeat(251, 0)
        alpha[:100, :100] = 0
        street.putalpha(Image.fromarray(alpha))
        street.save(path)
    return path


def predicted(path, model=NAME):
    """The label map (1, H, W) of `ddrnet predict`."""
    out = path.parent / "predicted"
    assert main(["predict", str(path), "--model", model, "--out", str(out), "--device", "cpu"]) == 0
    return np.asarray(Image.open(out / f"{path.stem}.labels.png"))[None]


def assert_equal_but_for_near_ties(labels, path):
    expected = predicted(path)
    assert labels.shape == expected.shape
    assert len(np.unique(labels)) > 2
    assert (labels != expected).mean() < 1e-3
    pixels = decode_image(path).permute(1, 2, 0)[None].contiguous().numpy()
    assert lead(expected_logits(pixels, nano()), labels) <= 1e-5


def test_labels_are_those_of_predict(tmp_path):
    with opened(tmp_path) as page:
        for kind in ("plain", "turned", "alpha"):
            path = write_picture(tmp_path, kind)
            page.choose(path)
            assert page.error == ""
            labels, name = page.labels()
            assert name == f"{kind}.labels.png"
            assert_equal_but_for_near_ties(labels, path)


def test_the_rendered_street_shows_classes_shares_and_time(tmp_path):
    with opened(tmp_path) as page:
        page.click("street")
        page.click("street")
        print("\n" + page.status)
        assert re.fullmatch(r"1024 x 512 pixels · WebAssembly · \d+ ms", page.status)
        shares = [
            float(text.removesuffix(" %"))
            for text in page.tab.locator("#legend b").all_inner_texts()
            if not text.startswith("<")
        ]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(100, abs=1)
        names = page.tab.locator("#legend span").all_inner_texts()
        assert "road" in names
        page.tab.fill("#opacity", "20")
        assert page.tab.locator("#colors").evaluate("canvas => canvas.style.opacity") == "0.2"
        page.choose(write_picture(tmp_path, "plain"))  # photos take the weights for photos again
        assert "Building" in page.tab.locator("#legend span").all_inner_texts()


def test_works_from_a_server_on_a_phone(tmp_path):
    with served(FOLDER) as address, opened(tmp_path, address=address) as page:
        page.tab.set_viewport_size({"width": 390, "height": 844})
        path = write_picture(tmp_path, "plain")
        page.choose(path)
        assert_equal_but_for_near_ties(page.labels()[0], path)
        width = page.tab.evaluate("document.documentElement.scrollWidth")
        assert width <= 390


def test_a_large_photo_is_computed_smaller_until_every_pixel_is_asked_for(tmp_path):
    path = tmp_path / "large.png"
    Image.effect_noise((2051, 2101), 80).convert("RGB").save(path)
    with opened(tmp_path) as page:
        page.choose(path)
        assert "2051 x 2101 pixels, computed at 2023 x 2073" in page.status
        assert page.labels()[0].shape == (1, 2101, 2051)
        page.click("every")
        assert page.status.startswith("2051 x 2101 pixels · ")
        assert page.tab.is_hidden("#every")


def test_the_camera_gives_a_picture_and_is_switched_off(tmp_path):
    with opened(tmp_path, CAMERA) as page:
        page.click("camera")
        assert page.tab.is_visible("#video")
        page.click("shoot")
        assert page.error == ""
        assert page.tab.is_hidden("#video")
        assert page.tab.evaluate("document.getElementById('video').srcObject") is None
        assert page.labels()[1] == "camera.labels.png"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("NotAllowedError", "does not let this page use the camera"),
        ("NotFoundError", "no camera"),
        ("OddError", r"does not start \(odd\)"),
    ],
)
def test_a_camera_that_does_not_start_gives_a_sentence(name, words, tmp_path):
    script = (
        "navigator.mediaDevices.getUserMedia = async () => "
        f"{{ throw Object.assign(new Error('odd'), {{ name: '{name}' }}); }};"
    )
    with opened(tmp_path, script=script) as page:
        page.click("camera")
        assert re.search(words, page.error)
        assert page.tab.is_hidden("#viewfinder")


def test_files_that_are_no_fit_give_a_sentence_and_the_next_one_works(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    Image.new("RGB", (31, 64)).save(tmp_path / "small.png")
    with opened(tmp_path) as page:
        page.choose(write_picture(tmp_path, "plain"))
        page.choose(tmp_path / "text.png")
        assert "cannot read this file as an image" in page.error
        assert page.tab.is_hidden("#result")
        page.choose(tmp_path / "small.png")
        assert page.error == "The image is 31 x 64 pixels; the network needs 32 on both sides."
        page.choose(write_picture(tmp_path, "plain"))
        assert page.error == ""


@pytest.mark.parametrize("missing", ["models", "wasm", NAME])
def test_a_missing_file_is_named(missing, tmp_path):
    copy = tmp_path / "page"
    shutil.copytree(FOLDER, copy, copy_function=os.symlink)
    (copy / "assets" / f"{missing}.js").unlink()
    with opened(tmp_path, address=copy.as_uri()) as page:
        if missing != "models":
            page.choose(write_picture(tmp_path, "plain"))
        assert f"assets/{missing}.js cannot be loaded" in page.error


def with_webgpu(page):
    """Skip where this Chromium has no WebGPU, which its software adapter gives."""
    found = page.tab.evaluate("(async () => !!await navigator.gpu?.requestAdapter())()")
    if not found:
        pytest.skip("this Chromium has no WebGPU")


def test_webgpu_gives_the_same_labels(tmp_path):
    with opened(tmp_path, WEBGPU) as page:
        with_webgpu(page)
        path = write_picture(tmp_path, "plain")
        page.choose(path)
        assert "WebGPU" in page.status
        labels, _ = page.labels()
        assert (labels != predicted(path)).mean() < 1e-3


LOSE_DEVICE = """
const request = GPUAdapter.prototype.requestDevice, create = ort.InferenceSession.create;
let device;
GPUAdapter.prototype.requestDevice = async function (...given) {
  return device = await request.apply(this, given);
};
ort.InferenceSession.create = async (...given) => {
  const session = await create.apply(ort.InferenceSession, given);
  device?.destroy();
  device = undefined;
  return session;
};
"""


def test_webassembly_goes_on_when_webgpu_fails_during_a_run(tmp_path):
    copy = tmp_path / "page"
    shutil.copytree(FOLDER, copy)
    script = copy / "assets" / "segment.js"
    _, _, _, text, _ = script.read_text().split('"')
    content = gzip.decompress(base64.b64decode(text)).decode() + LOSE_DEVICE
    packed = base64.b64encode(gzip.compress(content.encode())).decode()
    script.write_text(f'deliver("segment", "{packed}");')
    with opened(tmp_path, WEBGPU, address=copy.as_uri()) as page:
        with_webgpu(page)
        path = write_picture(tmp_path, "plain")
        page.choose(path)
        assert (page.error, "WebAssembly" in page.status) == ("", True)
        assert_equal_but_for_near_ties(page.labels()[0], path)
