"""Segment images on many machines with Ray; a run that was stopped goes on.

    python examples/predict_ray.py s3://bucket/photos s3://bucket/labels --workers 32 --gpus 0.25

Only names travel: a worker reads NAME, writes NAME.labels.png and returns a row for OUT/rows.
"""

import argparse
import uuid
from io import BytesIO

import fsspec
import ray
from fsspec.implementations.dirfs import DirFileSystem
from PIL import Image
from pyarrow import parquet

import ddrnet

SUFFIXES, LABELS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"), ".labels.png"


def write(out: DirFileSystem, name: str, content: BytesIO) -> None:  # noqa: D103
    if not isinstance(out.fs, fsspec.get_filesystem_class("file")):
        return out.pipe_file(name, content.getvalue())  # object stores have no partial files
    out.makedirs(name.rpartition("/")[0], exist_ok=True)
    out.pipe_file(part := f".{uuid.uuid4()}.part", content.getvalue())
    return out.mv(part, name)


class Worker:  # noqa: D101
    def __init__(self, images: DirFileSystem, out: DirFileSystem, model: str, gpus: float) -> None:
        self.images, self.out = images, out
        self.predictor = ddrnet.Predictor(model, device=None if gpus else "cpu")
        self.columns = ("milliseconds", *(label.name for label in self.predictor.classes))

    def __call__(self, item: dict[str, str]) -> dict[str, str | float]:  # noqa: D102
        name, classes, took = item["item"], self.predictor.classes, float("nan")
        row = {"path": name, "error": ""} | dict.fromkeys(self.columns, float("nan"))
        try:
            if written := self.out.exists(name + LABELS):  # its row was lost
                labels = Image.open(BytesIO(self.out.cat_file(name + LABELS)))
            else:
                result = self.predictor(Image.open(BytesIO(self.images.cat_file(name))))
                labels, took = result.labels, sum(result.speed.values())
            shares = ddrnet.visualize.class_shares(labels, classes)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            return row | {"error": f"{type(error).__name__}: {error}"}
        if not written:
            ddrnet.visualize.palette_image(labels, classes).save(content := BytesIO(), "PNG")
            write(self.out, name + LABELS, content)
        return row | dict(zip(self.columns, (took, *shares), strict=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("places", nargs=2, metavar=("IMAGES", "OUT"), help="folders or addresses")
    parser.add_argument("--model", default="ddrnet_23_slim", help="as ddrnet.Predictor takes it")
    parser.add_argument("--workers", type=int, default=1, help="in the whole cluster")
    parser.add_argument("--gpus", type=float, default=0, help="per worker, such as 0.25")
    args = parser.parse_args()
    images, out = (DirFileSystem(root, fs) for fs, root in map(fsspec.url_to_fs, args.places))
    written, rows, failed = set(out.find("")), set(), 0
    if out.exists("rows"):
        rows |= {*parquet.read_table("rows", filesystem=out, columns=["path"])["path"].to_pylist()}
    names = [n for n in images.find("") if n.lower().endswith(SUFFIXES) and not n.endswith(LABELS)]
    todo = [name for name in names if name + LABELS not in written or name not in rows]
    print(f"{len(todo)} of {len(names)} images lack labels or a row")
    if not names:
        parser.error(f"there is no image in {args.places[0]}")
    if todo:
        given = (images, out, args.model, args.gpus)
        pool = ray.data.ActorPoolStrategy(size=args.workers)
        results = ray.data.from_items(todo, override_num_blocks=len(todo) // 32 + 1)
        results = results.map(Worker, fn_constructor_args=given, compute=pool, num_gpus=args.gpus)
        for table in results.iter_batches(batch_size=500, batch_format="pyarrow"):
            parquet.write_table(table, content := BytesIO())
            write(out, f"rows/{uuid.uuid4()}.parquet", content)
            failed += sum(map(bool, table["error"].to_pylist()))
    raise SystemExit(f"{failed} images failed; see OUT/rows" if failed else 0)
