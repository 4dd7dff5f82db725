"""The run folder of `predict`: every tile and every image is kept as soon as it is there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import Instruction, Prediction
from earthinstruct.errors import EarthInstructError
from earthinstruct.files import as_json, decode_json, plain_name, read_bytes, replace_file
from earthinstruct.images import ImageOptions
from earthinstruct.predictions import (
    TILES_FILE,
    Record,
    RecordWriter,
    StoredRecords,
    differences,
    folder_lock,
    identity_of_method,
    prediction_files,
    readable,
    take_out_failures,
    writing_run,
)
from earthinstruct.regions import ImageId
from earthinstruct.results import SCHEMA_VERSION, MethodInfo
from earthinstruct.running.cut_images import KeptTiles

IN_MEMORY = "pixels in memory"  # how the state of an image without a file begins
_START_AGAIN = "give --overwrite to start again, or another --output"


class Asked(msgspec.Struct, frozen=True):
    """`run.json` of a run of `predict`: what was asked, of which method, about which images.

    Attributes:
        schema_version: the version of the format.
        instruction: what to find.
        method: the method.
        images: path of each image, as it was given -> see `state_of`.
        reading: how image files are read.
        tile: side of the tiles in pixels, 0 for none; None: chosen by the size of the image.
        overlap: pixels that neighbouring tiles share; None: an eighth of a tile.
        window: the part that is predicted: column, row, width and height in pixels; None: all.
        aoi: the file with the areas of interest, and its state; None: none is given.
        resolution: metres a pixel that the method sees; None: as stored.
        source_crs: the coordinate reference system of images that name none.
        warnings: what was known before the first image, such as words that the method does not know.
    """

    instruction: Instruction
    method: MethodInfo
    images: dict[str, str]
    reading: ImageOptions
    tile: int | None = None
    overlap: int | None = None
    window: tuple[int, int, int, int] | None = None
    aoi: tuple[str, str] | None = None
    resolution: float | None = None
    source_crs: str | None = None
    warnings: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION

    def place(self, output: Path) -> Path:
        """The folder of the run: images and instruction decide, and then the method, as for `evaluate`."""
        asked = as_json([self.instruction, sorted(self.images)])
        name = f"{plain_name(Path(min(self.images)).stem)}-{hashlib.sha256(asked).hexdigest()[:8]}"
        return output / "predict" / name / plain_name(self.method.name)

    def identity(self) -> dict[str, Any]:
        """The settings that must be equal for the run to be continued: name -> value."""
        return {
            "instruction": self.instruction,
            **identity_of_method(self.method),
            **{f"--{name}": _as_given(value) for name, value in asdict(self.reading).items()},
            "--tile": self.tile,
            "--overlap": self.overlap,
            "--window": _as_given(self.window),
            "--aoi": None if self.aoi is None else ", ".join(self.aoi),
            "--resolution": self.resolution,
            # without these two, only what is saved depends on it
            "--source-crs": self.source_crs if self.aoi or self.resolution else None,
            **{f"image {path}": state for path, state in sorted(self.images.items()) if state},
        }


def _as_given(value: Any) -> Any:
    """The value of an option as the command line takes it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else value


def state_of(image: Path | NDArray[np.uint8]) -> str:
    """The size of a file and the time of its last change, empty if it is not there; of pixels, their hash."""
    if not isinstance(image, Path):
        return f"{IN_MEMORY}, {image.shape}, SHA-256 {hashlib.sha256(image.tobytes()).hexdigest()}"
    try:
        found = image.stat()
    except OSError:
        return ""
    return f"{found.st_size} bytes, changed at {found.st_mtime_ns}"


def read_asked(folder: Path) -> Asked:
    """Read the `run.json` of a run of `predict`.

    Raises:
        DataError: the file is missing or malformed.
    """
    problem = f"{folder / 'run.json'} is not of a run of predict: {{error}}; {_START_AGAIN}"
    return decode_json(read_bytes(folder / "run.json", "run manifest"), msgspec.json.Decoder(Asked), problem)


class ImageRun:
    """The run of one method on some images, in one folder: what was predicted before, and what is predicted now.

    Attributes:
        folder: the run folder.
        tiles: the tiles of images that have no prediction yet, while the run is open.
    """

    tiles: KeptTiles

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / "predictions.jsonl"
        self._stored: Mapping[ImageId, Record] = {}
        self._writer: RecordWriter | None = None
        self._left: set[str] = set()  # images without a prediction

    @contextmanager
    def open(self, asked: Asked, *, overwrite: bool = False) -> Iterator[ImageRun]:
        """Lock the folder, and accept predictions. Failures of earlier runs are forgotten.

        Raises:
            EarthInstructError: the folder is in use, or holds another run.
            DataError: it cannot be written, or what it holds is malformed.
        """
        with folder_lock(self.folder):
            manifest, others = self.folder / "run.json", (self._file, self.folder / TILES_FILE)
            with writing_run(self.folder):
                if overwrite:
                    for path in (*others, manifest):  # the manifest last: it says whose the others are
                        path.unlink(missing_ok=True)
                elif manifest.is_file():
                    self._refuse(read_asked(self.folder), asked)
                elif any(path.exists() for path in others):
                    raise EarthInstructError(f"{self.folder} has predictions but no run.json; {_START_AGAIN}")
                if not manifest.is_file() or manifest.read_bytes() != as_json(asked):
                    replace_file(manifest, as_json(asked))
                if self._file.exists():
                    take_out_failures(self._file)  # and a torn last line
                    self._stored = StoredRecords([self._file])
            self._left = {path for path in asked.images if path not in self._stored}
            self.tiles = KeptTiles(self.folder)
            try:
                yield self
            finally:
                if self._writer is not None:
                    self._writer.close()
                self.tiles.close(done=not self._left)

    @contextmanager
    def locked(self) -> Iterator[ImageRun]:
        """Lock the folder, and read what it holds.

        Raises:
            EarthInstructError: the folder is in use.
            DataError: what it holds is malformed.
        """
        with folder_lock(self.folder):
            self._stored = StoredRecords(prediction_files(self.folder))
            yield self

    def prediction(self, path: Path) -> Prediction | None:
        """What was found in an image before; None: it has no prediction yet.

        Raises:
            DataError: the stored prediction is malformed.
        """
        record = self._stored.get(str(path))
        return None if record is None else record.prediction()

    def keep(self, record: Record) -> Record:
        """Keep what was found in an image, unless it failed; returns what a reader will find.

        Raises:
            DataError: the folder cannot be written.
        """
        record = readable(record)
        if record.error is None:
            with writing_run(self.folder):
                self._writer = self._writer or RecordWriter(self._file)
                self._writer.write(record)
            self._left.discard(str(record.image_id))
        return record

    def _refuse(self, before: Asked, asked: Asked) -> None:
        was_there = {path: state for path, state in asked.images.items() if before.images.get(path)}
        found = differences(before.identity(), msgspec.structs.replace(asked, images=was_there).identity())
        if found:
            raise EarthInstructError(
                f"{self.folder} holds another run ({'; '.join(found)}); {_START_AGAIN} to keep both"
            )
