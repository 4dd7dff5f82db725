"""The run folder of `predict`: every tile and every image is kept as soon as it is there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import Instruction, Prediction
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.files import as_json, decode_json, plain_name, read_bytes, replace_file
from earthinstruct.images import ImageOptions, Window
from earthinstruct.predictions import (
    Record,
    RecordWriter,
    StoredRecords,
    folder_lock,
    prediction_files,
    readable,
    take_out_failures,
)
from earthinstruct.results import SCHEMA_VERSION, MethodInfo
from earthinstruct.running.tiles import KeptTiles

_ENCODER = msgspec.json.Encoder(order="deterministic")
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
    schema_version: int = SCHEMA_VERSION

    def place(self, output: Path) -> Path:
        """The folder of the run: images and instruction decide, and then the method, as for `evaluate`."""
        asked = as_json([self.instruction, sorted(self.images)])
        name = f"{plain_name(Path(next(iter(self.images))).stem)}-{hashlib.sha256(asked).hexdigest()[:8]}"
        return output / "predict" / name / plain_name(self.method.name)

    def differences(self, other: Asked) -> list[str]:
        """How another run differs, in words. Packages, device and notes may differ."""
        before, after = (
            {
                "instruction": asked.instruction,
                "method": asked.method.name,
                "method version": asked.method.version,
                "weights": asked.method.weights,
                **{f"--{name}": value for name, value in asdict(asked.reading).items()},
                "--tile": asked.tile,
                "--overlap": asked.overlap,
                "--window": asked.window,
                "--aoi": asked.aoi,
                "--resolution": asked.resolution,
                # without these two, only what is saved depends on it
                "--source-crs": asked.source_crs if asked.aoi or asked.resolution else None,
                **{f"parameter {name}": value for name, value in asked.method.parameters.items()},
                **{f"image {path}": state for path, state in asked.images.items() if self.images.get(path)},
            }
            for asked in (self, other)
        )
        pairs = {name: (before.get(name), after.get(name)) for name in {**before, **after}}
        return [
            f"{name} was {str(a)[:80]}, is {str(b)[:80]}"
            for name, (a, b) in pairs.items()
            if _ENCODER.encode(a) != _ENCODER.encode(b)  # 1 is not true
        ]


def state_of(image: Path | NDArray[np.uint8]) -> str:
    """The size of a file and the time of its last change, empty if it is not there; of pixels, their hash."""
    if not isinstance(image, Path):
        return f"{image.shape} pixels, SHA-256 {hashlib.sha256(image.tobytes()).hexdigest()}"
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
    """The run of one method on some images, in one folder: what was predicted before, and what is predicted now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stored: dict[str, StoredRecords] = {}
        self._writers: dict[str, RecordWriter] = {}
        self._left: set[str] = set()  # images without a prediction

    @contextmanager
    def open(self, asked: Asked, *, overwrite: bool = False) -> Iterator[ImageRun]:
        """Lock the folder, and accept predictions. Failures of earlier runs are forgotten.

        Raises:
            EarthInstructError: the folder is in use, or holds another run.
            DataError: it cannot be written, or what it holds is malformed.
        """
        with folder_lock(self.folder):
            files = {name: self._file(name) for name in ("predictions", "tiles")}
            manifest = self.folder / "run.json"
            with self._written():
                if overwrite:
                    for path in (*files.values(), manifest):  # the manifest last: it says whose the others are
                        path.unlink(missing_ok=True)
                elif manifest.is_file():
                    self._refuse(read_asked(self.folder).differences(asked))
                elif any(path.exists() for path in files.values()):
                    raise EarthInstructError(f"{self.folder} has predictions but no run.json; {_START_AGAIN}")
                if not manifest.is_file() or manifest.read_bytes() != as_json(asked):
                    replace_file(manifest, as_json(asked))
                for name, path in files.items():
                    if path.exists():
                        take_out_failures(path)  # and a torn last line
                        self._stored[name] = StoredRecords([path])
            self._left = set(asked.images).difference(self._stored.get("predictions", ()))
            try:
                yield self
            finally:
                for writer in self._writers.values():
                    writer.close()
            if not self._left:
                files["tiles"].unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[ImageRun]:
        """Lock the folder, and read what it holds.

        Raises:
            EarthInstructError: the folder is in use.
            DataError: what it holds is malformed.
        """
        with folder_lock(self.folder):
            self._stored = {"predictions": StoredRecords(prediction_files(self.folder))}
            yield self

    def prediction(self, path: Path) -> Prediction | None:
        """What was found in an image before; None: it has no prediction yet.

        Raises:
            DataError: the stored prediction is malformed.
        """
        return self._read("predictions", str(path))

    def keep(self, path: Path, prediction: Prediction) -> None:
        """Keep what was found in an image.

        Raises:
            DataError: the folder cannot be written.
        """
        self._write("predictions", Record.of(str(path), prediction))
        self._left.discard(str(path))

    def tiles(self, path: Path) -> KeptTiles:
        """The tiles of an image."""
        return _Tiles(self, path)

    def _read(self, name: str, key: str) -> Prediction | None:
        record = self._stored[name].get(key) if name in self._stored else None
        return None if record is None else record.prediction()

    def _write(self, name: str, record: Record) -> None:
        record = readable(record)
        if record.error is not None:
            raise DataError(record.error)
        with self._written():
            if name not in self._writers:
                self._writers[name] = RecordWriter(self._file(name))
            self._writers[name].write(record)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    def _refuse(self, differences: list[str]) -> None:
        if differences:
            raise EarthInstructError(
                f"{self.folder} holds another run ({'; '.join(differences)}); {_START_AGAIN} to keep both"
            )

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(
                f"run folder {self.folder} cannot be written: {error.strerror or error}; what was found so far is "
                "kept. Fix this, then continue with the same command without --overwrite"
            ) from error


class _Tiles:
    """The tiles of one image in a run folder."""

    def __init__(self, run: ImageRun, path: Path) -> None:
        self._run = run
        self._path = path

    def get(self, window: Window) -> Prediction | None:
        """What was found in a tile before."""
        return self._run._read("tiles", self._key(window))

    def keep(self, window: Window, prediction: Prediction) -> None:
        """Keep what was found in a tile."""
        self._run._write("tiles", Record.of(self._key(window), prediction))

    def _key(self, window: Window) -> str:
        return f"{self._path}#{','.join(map(str, window))}"
