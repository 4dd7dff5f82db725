"""Answers for images, made of the answers for their tiles, which are kept in the run folder as soon as they come."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec

from earthinstruct.contract import Usage
from earthinstruct.images import Window
from earthinstruct.predictions import (
    TILES_FILE,
    Record,
    RecordWriter,
    StoredRecords,
    readable,
    take_out_failures,
    writing_run,
)
from earthinstruct.regions import ImageId
from earthinstruct.running.engines import Engine
from earthinstruct.running.engines.worker import OF_IMAGE, Question
from earthinstruct.running.merging import merge_tiles
from earthinstruct.running.reading import Images, Tile

Windows = Mapping[int, Sequence[Window]]  # position of an image that is cut -> its tiles


class KeptTiles:
    """The answers for tiles in a run folder, until their images have a prediction."""

    def __init__(self, folder: Path, paid: Collection[ImageId] = ()) -> None:
        """Find what an earlier run kept, without the failures.

        Args:
            folder: the run folder.
            paid: images whose tiles cost nothing more, because a failure of the image holds their usage already.

        Raises:
            DataError: the file is malformed, or cannot be written.
        """
        self._folder = folder
        self._file = folder / TILES_FILE
        self._paid = paid
        self._stored: Mapping[ImageId, Record] = {}
        self._writer: RecordWriter | None = None
        if self._file.exists():
            with writing_run(self._folder):
                take_out_failures(self._file)  # and a torn last line
            self._stored = StoredRecords([self._file])

    def __contains__(self, key: ImageId) -> bool:
        """Whether an earlier run answered a tile."""
        return key in self._stored

    def get(self, key: ImageId, image: ImageId) -> Record:
        """The answer for a tile of an image in an earlier run."""
        record = self._stored[key]
        return msgspec.structs.replace(record, **_NO_COST) if image in self._paid else record

    def keep(self, record: Record) -> Record:
        """Keep the answer for a tile; returns what a reader will find."""
        record = readable(record)
        with writing_run(self._folder):
            self._writer = self._writer or RecordWriter(self._file)
            self._writer.write(record)
        return record

    def close(self, *, done: bool) -> None:
        """Close the file; once all images have their predictions, it is not needed."""
        with writing_run(self._folder):
            if self._writer is not None:
                self._writer.close()
            if done:
                self._file.unlink(missing_ok=True)


_NO_COST = {"seconds": {}, "input_tokens": 0, "output_tokens": 0, "events": {}}


class Answered(NamedTuple):
    """A tile that has its answer.

    Attributes:
        question: what was asked.
        image: the position of the image.
        tile: the answer for the tile; None: an earlier run kept it.
        whole: the answer for the image, once all its tiles have theirs.
    """

    question: Question
    image: int
    tile: Record | None
    whole: Record | None


def answers_of_images(
    engine: Engine,
    images: Images,
    work: Sequence[tuple[Question, Sequence[int]]],
    windows: Windows,
    kept: Mapping[str, KeptTiles],
    stopping: Callable[[], bool],
) -> Iterator[Answered]:
    """Ask about images, and merge the answers for the tiles of one.

    Args:
        engine: what runs the method.
        images: the images of the run.
        work: the questions, and the images that have no answer yet, by position.
        windows: the tiles of each image that is cut.
        kept: name of a question -> where the answers for tiles are kept; without an entry, nowhere.
        stopping: as for `Engine.answers`.
    """
    parts: dict[tuple[str, int], _Parts] = {}
    todo: list[tuple[Question, list[Tile]]] = []
    place: dict[ImageId, int] = {}  # id in the record of a tile -> position of its image
    for question, lacking in work:
        tiles: list[Tile] = []
        for image in lacking:
            if image not in windows:
                tiles.append(Tile(image))
                place[images.id_of(tiles[-1])] = image
                continue
            part = _Parts(images, image, windows[image], kept.get(question.name))
            n_before = len(part.tiles) - part.n_missing
            for number in range(1, n_before + 1):
                yield Answered(question, image, None, part.whole() if number == len(part.tiles) else None)
            if part.n_missing:
                parts[question.name, image] = part
                place |= dict.fromkeys(part.tiles, image)
                tiles += part.missing()
        todo.append((question, tiles))
    for question, record in engine.answers(todo, stopping):
        image = place[record.image_id]
        cut = parts.get((question.name, image))
        if cut is None:
            yield Answered(question, image, record, record)
            continue
        record = cut.add(record)
        if cut.n_missing:
            yield Answered(question, image, record, None)
        else:
            del parts[question.name, image]
            yield Answered(question, image, record, cut.whole())


class _Parts:
    """The answers for the tiles of one image, as they come."""

    def __init__(self, images: Images, image: int, windows: Sequence[Window], kept: KeptTiles | None) -> None:
        self._id = images.dataset.images[image].id
        self._size = images.size_of(Tile(image))
        self.tiles = {images.id_of(tile): tile for tile in (Tile(image, window) for window in windows)}
        self._kept = kept if len(self.tiles) > 1 else None
        self._before = {key for key in self.tiles if self._kept is not None and key in self._kept}
        self._now: dict[ImageId, Record] = {}

    @property
    def n_missing(self) -> int:
        """How many tiles have no answer yet."""
        return len(self.tiles) - len(self._before) - len(self._now)

    def missing(self) -> list[Tile]:
        """The tiles that an earlier run did not answer."""
        return [tile for key, tile in self.tiles.items() if key not in self._before]

    def add(self, record: Record) -> Record:
        """Add the answer for a tile, and keep it; returns what is kept."""
        if self._kept is not None:
            record = self._kept.keep(record)
        self._now[record.image_id] = record
        return record

    def whole(self) -> Record:
        """The answer for the image, once no tile is missing. It failed if one of its tiles did."""
        windows = [tile.window for tile in self.tiles.values() if tile.window is not None]
        records = [self._record(key) for key in self.tiles]
        if windows == [(0, 0, *self._size[::-1])]:  # the whole image, at another resolution
            return msgspec.structs.replace(records[0], image_id=self._id)
        usage = Usage.join(record.usage for record in records)
        events = {event: 1 if event.startswith(OF_IMAGE) else n for event, n in usage.events.items()}
        if len(records) > 1:
            x0, y0, x1, y1 = windows[0]
            events[f"{OF_IMAGE}cut into tiles of {x1 - x0} x {y1 - y0} pixels"] = 1
        usage = replace(usage, events=events)
        failed = {window: record.error for window, record in zip(windows, records, strict=True) if record.error}
        if failed:
            (x0, y0, x1, y1), reason = next(iter(failed.items()))
            place = f"tile {x0},{y0},{x1 - x0},{y1 - y0}" if len(records) > 1 else "its part"
            more = f" (and {len(failed) - 1} more of its {len(records)} tiles failed)" if len(failed) > 1 else ""
            return Record.of_failure(self._id, f"{place}: {reason}{more}", usage)
        merged = merge_tiles([record.prediction() for record in records], windows, *self._size)
        return Record.of(self._id, replace(merged, usage=usage))

    def _record(self, key: ImageId) -> Record:
        if key not in self._before or self._kept is None:
            return self._now[key]
        return self._kept.get(key, self._id)
