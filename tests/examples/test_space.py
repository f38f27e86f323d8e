"""The demo of examples/space in a browser without a screen.

gradio is not among the packages of `dev`, because it asks for an older Pillow.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import ddrnet

pytest.importorskip("gradio", reason="gradio is missing: pip install gradio")
webdriver = pytest.importorskip(
    "selenium.webdriver", reason="selenium is missing: pip install selenium"
)
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed"
    ),
]

APP = Path(__file__).parents[2] / "examples" / "space" / "app.py"
LONGEST_WAIT = 180  # seconds


@pytest.fixture
def address():
    """The address of the demo, served by a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    environment = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_SERVER_PORT": port}
    server = subprocess.Popen(
        [sys.executable, "-u", APP], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        for line in server.stdout:
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            if found:
                yield found[0]
                break
        else:
            pytest.fail("the demo did not start")
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@pytest.fixture
def browser(tmp_path):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path / 'profile'}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def test_an_uploaded_image_shows_its_classes(address, browser, tmp_path):
    from PIL import Image
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    image, _ = ddrnet.data.SyntheticStreets(1, (128, 256))[0]
    street = Image.fromarray(image.permute(1, 2, 0).numpy())
    street.save(tmp_path / "street.png")
    expected = ddrnet.Predictor("ddrnet_23_nano.camvid", device="cpu")(street)

    browser.get(address)
    wait = WebDriverWait(browser, LONGEST_WAIT)
    upload = wait.until(lambda page: page.find_element(By.CSS_SELECTOR, "input[type=file]"))
    upload.send_keys(str(tmp_path / "street.png"))
    wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, "img[src*='street']"))
    browser.find_element(By.XPATH, "//button[normalize-space()='Submit']").click()
    legend = wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, ".legend .legend-item"))
    assert {item.text for item in legend} == set(expected.shares())
    masks = browser.find_elements(By.CSS_SELECTOR, ".image-container img.mask")
    assert len(masks) == len(legend)
    for mask in masks:
        assert mask.get_property("naturalWidth") == 256
        assert mask.get_property("naturalHeight") == 128
