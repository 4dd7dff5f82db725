"""`earthinstruct score --sweep` beside other engines: whole processes in turn, from the files to the scores.

`python -m benchmarks.engines COPIES [--polygons] [--runs N] [--python PYTHON]` writes copies of NWPU VHR-10 (9 have the
size of DIOR val) with masks as RLE, or as polygons, and prints for each command the median CPU seconds and the peak
memory, and the median of its ratio to hotcoco in the same turn. Only the ratios hold on a shared machine.

`PYTHON` is the interpreter of an environment with `pip install hotcoco==1.3.0 vernier==0.5.4`, and pycocotools and
faster-coco-eval if they are to be compared too. The engines compute the COCO scores of boxes and masks (10 IoUs, 4
areas, at most 100 detections an image and category), and hotcoco error types as well; ours are not capped.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from pycocotools import mask as coco_mask

from benchmarks.data import write

_LIKE_PYCOCOTOOLS = """
import sys
{imports}
truth = COCO(sys.argv[1] + "/annotations.json")
found = truth.{load}(sys.argv[1] + "/results.json")
for kind in ("bbox", "segm"):
    run = COCOeval(truth, found, kind)
    run.evaluate()
    run.accumulate()
    run.summarize()
    {more}
"""
_VERNIER = """
import sys
from pathlib import Path
from vernier.instance import evaluate_bbox_summary, evaluate_segm_summary
truth, found = (Path(sys.argv[1], name).read_bytes() for name in ("annotations.json", "results.json"))
for evaluate in (evaluate_bbox_summary, evaluate_segm_summary):
    print(evaluate(truth, found, parity_mode="strict", max_dets=[1, 10, 100], use_cats=True).stats)
"""
ENGINES = {
    "hotcoco": _LIKE_PYCOCOTOOLS.format(
        imports="from hotcoco import COCO, COCOeval", load="load_res", more="run.tide_errors()"
    ),
    "vernier": _VERNIER,
    "pycocotools": _LIKE_PYCOCOTOOLS.format(
        imports="from pycocotools.coco import COCO; from pycocotools.cocoeval import COCOeval", load="loadRes", more=""
    ),
    "faster_coco_eval": _LIKE_PYCOCOTOOLS.format(
        imports="from faster_coco_eval import COCO, COCOeval_faster as COCOeval", load="loadRes", more=""
    ),
}


def with_rle(annotation: bytes) -> bytes:
    """Convert the polygons of a COCO annotation file to RLE."""
    coco = msgspec.json.decode(annotation)
    sizes = {image["id"]: (image["height"], image["width"]) for image in coco["images"]}
    for entry in coco["annotations"]:
        mask = coco_mask.merge(coco_mask.frPyObjects(entry["segmentation"], *sizes[entry["image_id"]]))
        entry["segmentation"] = {"size": mask["size"], "counts": mask["counts"].decode()}
    return msgspec.json.encode(coco)


def commands(folder: Path, python: str) -> dict[str, list[str]]:
    """The command of each engine that is installed, hotcoco first."""
    found = {
        name: [python, "-c", code, str(folder)]
        for name, code in ENGINES.items()
        if not subprocess.run([python, "-c", f"import {name}"], capture_output=True, check=False).returncode
    }
    if "hotcoco" not in found:
        sys.exit(f"{python} has no hotcoco; give the interpreter of an environment that has it with --python")
    for file in ("results.json", "predictions-000.jsonl"):
        own = [sys.executable, "-m", "earthinstruct", "score", str(folder / file), "--sweep", "--no-output"]
        found[f"ours, {file}"] = [*own, "--dataset", str(folder / "annotations.json"), "--setting", "open_vocabulary"]
    return found


def cost(command: Sequence[str]) -> tuple[float, float]:
    """CPU seconds and peak MB of one process, which may keep the bytecode of its modules, as installed ones do."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=variables)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def compare(commands: Mapping[str, Sequence[str]], runs: int) -> list[str]:
    """Run all commands in turn, and describe each in a row of a table; ratios are to the first command."""
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for command in commands.values():
        cost(command)  # not counted: the first run compiles modules and fills the cache of files
    for k in range(runs):
        for name in list(commands)[:: 1 if k % 2 == 0 else -1]:
            costs[name].append(cost(commands[name]))
    first = [seconds for seconds, _ in next(iter(costs.values()))]
    rows = []
    for name, found in costs.items():
        seconds, peak = [one for one, _ in found], max(peak for _, peak in found)
        ratio = statistics.median(own / other for own, other in zip(seconds, first, strict=True))
        rows.append(f"| {name} | {statistics.median(seconds):.2f} s | {ratio:.2f} | {peak:.0f} MB |")
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("copies", type=int)
    parser.add_argument("--polygons", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--python", default=sys.executable)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, given.copies)
        if not given.polygons:
            file = folder / "annotations.json"
            file.write_bytes(with_rle(file.read_bytes()))
        rows = compare(commands(folder, given.python), given.runs)
    sys.stdout.write("\n".join(["| | CPU time | ratio | peak |", "|-|-|-|-|", *rows]) + "\n")


if __name__ == "__main__":
    main()
