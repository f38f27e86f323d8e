"""examples/predict_ray.py on a cluster of two nodes that loses processes, and on an S3 server.

With `DDRNET_RAY_IMAGES=2000` in the environment the cluster gets so many images.
"""

import contextlib
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

import ddrnet

fsspec = pytest.importorskip("fsspec")
dirfs = pytest.importorskip("fsspec.implementations.dirfs")
parquet = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("ray", reason='ray is missing: pip install "ray[data]"')

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "predict_ray.py"
MODEL = "ddrnet_23_nano.camvid"
IMAGES = int(os.environ.get("DDRNET_RAY_IMAGES", "200"))
LONGEST_WAIT = 600  # seconds
SETTINGS = {"OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of small images, all different, in subfolders."""
    folder = tmp_path_factory.mktemp("photos")
    streets = [
        image.permute(1, 2, 0).numpy() for image, _ in ddrnet.data.SyntheticStreets(9, (64, 96))
    ]
    random = np.random.default_rng(0)
    for index in range(IMAGES):
        noise = random.integers(-20, 20, streets[0].shape)
        image = (streets[index % 9] + noise).clip(0, 255).astype(np.uint8)
        path = folder / f"drive{index % 3}" / f"{index:04}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


@pytest.fixture(autouse=True)
def one_thread():
    """Ray's workers use one thread, and another number would round the logits otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def environment():
    """The environment of a program that runs on two nodes of one processor each."""
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="ray")  # the paths of sockets are short
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (SETTINGS | {"RAY_TMPDIR": folder}).items():
            patch.setenv(name, value)
        nodes = Cluster(True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        try:
            nodes.add_node(num_cpus=1)
            yield os.environ | {"RAY_ADDRESS": nodes.address}
        finally:
            nodes.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


def start(images, out, environment):
    command = [sys.executable, EXAMPLE, images, out, "--model", MODEL, "--workers", "2"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def finish(program):
    """Return what the program says it has to do."""
    output, _ = program.communicate(timeout=LONGEST_WAIT)
    assert program.returncode == 0
    return output.splitlines()[0]


def labels_in(folder):
    return sorted(folder.rglob("*.labels.png"))


def wait_for_labels(folder, number, program):
    end = time.monotonic() + LONGEST_WAIT
    while len(labels_in(folder)) < number:
        assert program.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)


def busy_workers():
    """Return the processes of the cluster that segment images."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, IndexError):
            if process.cmdline()[0].startswith("ray::MapWorker(Map(Worker)).submit"):
                found.append(process)
    return found


def rows_in(out):
    return [
        row for file in sorted(out.glob("rows/*")) for row in parquet.read_table(file).to_pylist()
    ]


def check_results(photos, out):
    """Every image has its labels and one row."""
    predictor = ddrnet.Predictor(MODEL, device="cpu")
    images = sorted(photos.rglob("*.png"))
    names = [str(path.relative_to(photos)) for path in images]
    assert [str(path.relative_to(out)) for path in labels_in(out)] == [
        f"{name}.labels.png" for name in names
    ]
    rows = rows_in(out)
    assert Counter(row["path"] for row in rows) == Counter(names)
    row_of = {row["path"]: row for row in rows}
    for path, name in zip(images, names, strict=True):
        expected = predictor(path)
        assert np.array_equal(Image.open(out / f"{name}.labels.png"), expected.labels)
        shares = {label.name: row_of[name][label.name] for label in predictor.classes}
        assert {key: share for key, share in shares.items() if share} == expected.shares()
        assert row_of[name]["error"] == ""


def times_of(paths):
    return {path: path.stat().st_mtime_ns for path in paths}


def lacking(number):
    return f"{number} of {IMAGES} images lack labels or a row"


def test_a_killed_worker_costs_nothing_and_a_second_run_does_nothing(photos, environment, tmp_path):
    program = start(photos, tmp_path, environment)
    wait_for_labels(tmp_path, IMAGES // 4, program)
    busy_workers()[0].kill()
    assert finish(program) == lacking(IMAGES)
    check_results(photos, tmp_path)
    written = times_of(tmp_path.rglob("*"))
    assert finish(start(photos, tmp_path, environment)) == lacking(0)
    assert times_of(tmp_path.rglob("*")) == written


def test_a_run_whose_driver_was_killed_goes_on_where_it_was(photos, environment, tmp_path):
    program = start(photos, tmp_path, environment)
    wait_for_labels(tmp_path, IMAGES // 4, program)
    program.kill()
    program.communicate()
    psutil.wait_procs(busy_workers(), timeout=LONGEST_WAIT)
    written = times_of(labels_in(tmp_path))
    left = IMAGES - len(rows_in(tmp_path))
    assert finish(start(photos, tmp_path, environment)) == lacking(left)
    assert written.items() <= times_of(labels_in(tmp_path)).items()
    check_results(photos, tmp_path)


def test_images_and_labels_in_an_object_store(photos, environment, monkeypatch, tmp_path):
    """The address of the server and the credentials come from the environment, as for real ones."""
    moto = pytest.importorskip("moto.server", reason='moto is missing: pip install "moto[server]"')
    pytest.importorskip("s3fs", reason="s3fs is missing: pip install s3fs")
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "name", "AWS_SECRET_ACCESS_KEY": "secret"}
    keys |= {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    try:
        store = fsspec.filesystem("s3")
        store.mkdir("photos")
        store.mkdir("results")
        store.put(f"{photos}/drive0", "photos/", recursive=True)
        # A cluster of its own, whose processes know the environment.
        alone = os.environ | SETTINGS | keys | {"RAY_ADDRESS": "local"}
        finish(start("s3://photos", "s3://results/street", alone))
        store.invalidate_cache()
        store.get("results/street/", str(tmp_path / "out"), recursive=True)
    finally:
        server.stop()
    shutil.copytree(photos / "drive0", tmp_path / "photos" / "drive0")
    check_results(tmp_path / "photos", tmp_path / "out")


def test_a_worker_reports_what_it_cannot_read_and_reads_what_is_written():
    spec = importlib.util.spec_from_file_location("predict_ray", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    memory = fsspec.filesystem("memory")
    images, out = (dirfs.DirFileSystem(f"/{name}", memory) for name in ("photos", "out"))
    Image.new("RGB", (48, 40), "blue").save(picture := io.BytesIO(), "PNG")
    images.pipe({"a.png": picture.getvalue(), "b.png": picture.getvalue()[:99], "c.png": b"text"})
    worker = example.Worker(images, out, MODEL, 0)
    rows = {name: worker({"item": name}) for name in ("a.png", "b.png", "c.png", "d.png")}
    assert out.find("") == ["a.png.labels.png"]
    assert [row["error"].split(":")[0] for row in rows.values()] == [
        *("", "ValueError", "UnidentifiedImageError", "FileNotFoundError")
    ]
    assert np.isnan([rows["b.png"][label.name] for label in worker.predictor.classes]).all()
    again = worker({"item": "a.png"})
    assert again["milliseconds"] != again["milliseconds"]
    assert again | {"milliseconds": rows["a.png"]["milliseconds"]} == rows["a.png"]


def test_a_folder_without_images_is_an_error(tmp_path):
    command = [sys.executable, EXAMPLE, tmp_path / "missing", tmp_path / "out"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_WAIT)
    assert run.returncode == 2
    assert f"there is no image in {tmp_path / 'missing'}" in run.stderr


def test_the_example_is_short():
    assert len(EXAMPLE.read_text().splitlines()) <= 80
