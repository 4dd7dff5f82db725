"""What `predict` found: an answer for each image, which is told and saved as soon as it is there."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from earthinstruct.contract import HopelessError, Instruction, Prediction
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.images import Scene
from earthinstruct.predictions import (
    PLACE,
    POINT_PLACE,
    Found,
    OnGround,
    Record,
    areas_of,
    check_place,
    counts_of,
    geodataframe_of,
    places_of,
    undrawn_and_uncounted,
)
from earthinstruct.regions import decode_rles
from earthinstruct.results import Shown
from earthinstruct.running.area import Area
from earthinstruct.running.engines import Explain
from earthinstruct.running.engines.worker import in_our_words
from earthinstruct.running.image_run import Asked
from earthinstruct.running.opened import OwnImages
from earthinstruct.running.outputs import Outputs, overlay_of

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd
    from PIL.Image import Image

    from earthinstruct.results import Block


@dataclass(frozen=True, eq=False, repr=False)
class Answer(Shown):
    """The answer for one image.

    Attributes:
        path: the image; for pixels in memory, "image 0", "image 1", ...
        prediction: what was found; None: the image failed.
        problem: why it failed; None if it did not.
        notes: how the pixels were read.
        scene: opens the image again.
        remarks: lines below the picture.
    """

    path: Path
    prediction: Prediction | None
    problem: str | None = None
    notes: tuple[str, ...] = ()
    scene: Callable[[], AbstractContextManager[Scene]] | None = field(default=None, repr=False)
    remarks: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """The count of each label; empty if the image failed."""
        return {} if self.prediction is None else counts_of(self.prediction)

    def overlay(self) -> Image:
        """Draw what was found over the image, as `save` does.

        Raises:
            DataError: the image failed, or cannot be read again.
        """
        if self.prediction is None or self.scene is None:
            raise DataError(f"image {self.path} failed: {self.problem}")
        with self.scene() as scene:
            return overlay_of(scene, self.prediction, self.remarks)

    def blocks(self) -> Iterator[Block]:
        """A line with the number of each label, then notes."""
        if self.prediction is None:
            yield f"failed: {self.path}: {self.problem}"
        else:
            counts = ", ".join(f"{label} {n}" for label, n in self.counts.items())
            undrawn, uncounted = undrawn_and_uncounted(self.prediction)
            apart = f" ({undrawn} counted but not drawn, {uncounted} drawn but not counted)"
            yield f"{self.path}: {counts or 'nothing found'}{apart if undrawn or uncounted else ''}"
        yield from (f"note: {self.path}: {note}" for note in self.notes)


@dataclass(frozen=True, eq=False, repr=False)
class Answers(Shown):
    """The answers of a method for some images. They iterate in the order of the images.

    Attributes:
        answers: one for each image.
        notes: what happened on the way, and what the method says of itself.
        folder: the run folder, which `saved_again` reads; None: nothing was kept.
        found: the predictions, with the sizes and places of their images.
        about: what made them.
        saved: the files that were saved; for a folder, the number of its pictures.
    """

    answers: tuple[Answer, ...]
    notes: tuple[str, ...]
    folder: Path | None = None
    found: tuple[Found, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    saved: tuple[str, ...] = ()

    @property
    def n_failed(self) -> int:
        """How many images failed."""
        return sum(answer.prediction is None for answer in self.answers)

    def __iter__(self) -> Iterator[Answer]:
        return iter(self.answers)

    def __len__(self) -> int:
        return len(self.answers)

    def __getitem__(self, number: int) -> Answer:
        return self.answers[number]

    def blocks(self) -> Iterator[Block]:
        """A line for each image, then notes."""
        for answer in self.answers:
            yield from answer.blocks()
        yield from self.closing_lines()

    def closing_lines(self) -> Iterator[str]:
        """The notes, how many images failed, what was saved, and where the answers are kept."""
        yield from (f"note: {note}" for note in self.notes)
        if self.n_failed:
            yield f"{self.n_failed} of {len(self)} images failed"
        yield from (f"saved {target}" for target in self.saved)
        if self.folder is not None:
            yield f"kept in {self.folder}"

    def to_pandas(self) -> pd.DataFrame:
        """Every instance, one a row: `image`, `label`, `x`, `y`, `width`, `height` in pixels, and `score`.

        Where a method points, also `point_x` and `point_y`; without boxes, `x` to `height` are missing.
        """
        import pandas as pd

        rows = [
            {"image": str(answer.path), "label": label, **place}
            for answer in self.answers
            if (found := answer.prediction) is not None
            for label, place in zip(found.labels, places_of(Record.of(0, found)), strict=True)
        ]
        columns = ["image", "label", *PLACE]
        columns += [name for name in POINT_PLACE if any(name in row for row in rows)]
        return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[2:], float))

    def to_geodataframe(self, crs: str | None = None, simplify: float = 0.0) -> gpd.GeoDataFrame:
        """Every instance with its outline on the ground, one a row; see `earthinstruct.predictions.geodataframe_of`."""
        return geodataframe_of(self.found, self.about, OnGround(crs, simplify))


@dataclass(frozen=True)
class Least:
    """The least score and area of an instance that is shown and saved; None: any."""

    score: float | None = None
    pixels: float | None = None
    square_metres: float | None = None

    @staticmethod
    def of(score: float | None, area: str | float | None) -> Least:
        """Read the options.

        Raises:
            EarthInstructError: the area is neither a number of pixels nor of m2.
        """
        number, unit = str(area).removesuffix("m2"), str(area).endswith("m2")
        try:
            least = 0.0 if area is None else float(number)
            if not 0 <= least < math.inf:
                raise ValueError
        except ValueError:
            raise EarthInstructError(f"--min-area is {area!r}; expected pixels, such as 20, or '20 m2'") from None
        return Least(score, None if area is None or unit else least, least if unit else None)

    def of_image(self, found: Found) -> Found:
        """Leave smaller instances, and those with a lower score, out of one image.

        Raises:
            DataError: the prediction has no scores, or areas are not known.
        """
        prediction = found.prediction
        if not len(prediction):
            return found
        if prediction.boxes is None and not (self.pixels is None and self.square_metres is None):
            raise DataError(f"image {found.path}: points have no area; leave --min-area out")
        kept = np.ones(len(prediction), dtype=bool)
        if self.score is not None:
            if prediction.scores is None:
                raise DataError(f"image {found.path}: the method gives no scores; leave --min-score out")
            kept &= prediction.scores >= self.score
        if self.pixels is not None and prediction.boxes is not None:
            boxes = prediction.boxes[:, 2:].prod(axis=1)
            areas = boxes if prediction.masks is None else decode_rles(prediction.masks).areas
            kept &= areas >= self.pixels
        if self.square_metres is not None:
            kept &= areas_of(found) >= self.square_metres
        chosen = np.flatnonzero(kept)
        if len(chosen) == len(prediction):
            return found
        labels = tuple(prediction.labels[i] for i in chosen)
        left_out = Counter(prediction.labels) - Counter(labels)
        counts = {label: max(0, n - left_out[label]) for label, n in (prediction.counts or {}).items()}
        return replace(
            found,
            prediction=replace(
                prediction,
                labels=labels,
                counts=None if prediction.counts is None else counts,
                boxes=None if prediction.boxes is None else prediction.boxes[chosen],
                points=None if prediction.points is None else prediction.points[chosen],
                masks=None if prediction.masks is None else tuple(prediction.masks[i] for i in chosen),
                scores=None if prediction.scores is None else prediction.scores[chosen],
                tiles=None if prediction.tiles is None else tuple(prediction.tiles[i] for i in chosen),
            ),
        )


@dataclass(eq=False)
class Answering:
    """The answers so far. Each is told, and its pictures are saved, as soon as it is there.

    Attributes:
        own: the images.
        asked: what was asked, of which method.
        least: what is left out.
        saved: where answers are saved.
        area: the part of each image that is looked at.
        answered: called with each answer; None: nobody is told.
        folder: the run folder; None: nothing is kept.
        explain: draws how the method decides on an image; None: it does not.
        secrets: texts that no error may show.
        n_tiles_before: how many tiles an earlier run answered.
    """

    own: OwnImages
    asked: Asked
    least: Least
    saved: Outputs
    area: Area
    answered: Callable[[Answer], None] | None
    folder: Path | None
    explain: Explain | None = None
    secrets: Sequence[str] = ()
    n_tiles_before: int = 0
    _found: dict[Path, Found] = field(default_factory=dict)
    _answers: dict[Path, Answer] = field(default_factory=dict)
    _events: Counter[str] = field(default_factory=Counter)
    _n_before: int = 0
    _n_left_out: int = 0

    def add(self, path: Path, prediction: Prediction, *, before: bool = False) -> None:
        """Add what was found in an image, and save its pictures.

        Args:
            path: the image.
            prediction: what was found.
            before: whether an earlier run found it.

        Raises:
            HopelessError: the explanation raised it.
            EarthInstructError: the only image failed, because it cannot be read again, or a picture cannot be saved.
        """
        opening = self.own.opening(path)
        try:
            with opening() as scene:
                if self.saved.on_ground:
                    check_place(path, scene.place, scene.no_place_reason)
                shown = self.least.of_image(Found(path, scene.height, scene.width, scene.place, prediction))
                kept = _with_counts(shown.prediction, self.asked.instruction)
                picture = None
                if self.explain is not None and self.saved.explain is not None:
                    seen = self.area.of_scene(path, scene)
                    picture = self.explain(seen.read(seen.window)[0], self.asked.instruction)
                notes = (*map(str, self.area.notes(scene)), *self._unused_crs(scene))
                remarks = (*self._remarks, *notes)
                self.saved.save_pictures(path, scene, kept, picture, remarks)
                answer = Answer(path, kept, notes=notes, scene=opening, remarks=remarks)
        except (HopelessError, KeyboardInterrupt):
            raise
        except BaseException as error:  # also sys.exit() in a method; the reason is given, and the other images go on
            self.fail(path, in_our_words(error, self.secrets))
            return
        self._found[path] = replace(shown, prediction=kept, notes=notes)
        self._n_left_out += len(prediction) - len(kept)
        self._n_before += before
        self._events.update(prediction.usage.events)
        self._add(answer)

    def _unused_crs(self, scene: Scene) -> Iterator[str]:
        """A note where --source-crs is not used, because the image names its reference system."""
        given, place = self.asked.source_crs, scene.place
        if given is not None and place is not None and place.crs is not None and place.crs.upper() != given.upper():
            yield f"it names its coordinate reference system, {place.crs[:80]}: --source-crs {given} is not used"

    @property
    def _remarks(self) -> tuple[str, ...]:
        """A line for every output where the method was made for certain images."""
        method = self.asked.method
        if method.made_for is None:
            return ()
        return (f"{method.name} was made for {', '.join(method.made_for)}; other images are out of its domain",)

    def fail(self, path: Path, problem: str) -> None:
        """Add the reason why an image failed.

        Raises:
            EarthInstructError: it is the only image.
        """
        if len(self.own.paths) == 1:  # `from None`: what the method raised is in the words
            raise EarthInstructError(problem if str(path) in problem else f"image {path}: {problem}") from None
        self._add(Answer(path, None, problem))

    def _add(self, answer: Answer) -> None:
        self._answers[answer.path] = answer
        if self.answered is not None:
            self.answered(answer)

    def answers(self) -> Answers:
        """Save the files of all images, and return the answers in the order of the images."""
        asked, answers = self.asked, tuple(self._answers[path] for path in self.own.paths)
        found = tuple(self._found[path] for path in self.own.paths if path in self._found)
        about: dict[str, Any] = {
            "method": asked.method.name,
            "version": asked.method.version,
            "run": None if self.folder is None else str(self.folder),
            "instruction": asked.instruction.text,
            "notes": [*asked.warnings, *self._remarks, *asked.method.notes],
            "failed": {str(answer.path): answer.problem for answer in answers if answer.prediction is None},
        }
        self.saved.save_files(found, about)
        notes = [f"{event}: {n}" for event, n in self._events.items()]
        if self._n_left_out:
            notes.append(f"{self._n_left_out} objects are left out by --min-score or --min-area")
        if self._n_before:
            n_all = len(self.own.paths)
            notes.append(f"{self._n_before} of {n_all} images were predicted before; --overwrite predicts them again")
        if self.n_tiles_before:
            notes.append(f"{self.n_tiles_before} tiles were answered before; --overwrite asks about them again")
        return Answers(answers, (*notes, *about["notes"]), self.folder, found, about, self.saved.saved())


def _with_counts(prediction: Prediction, instruction: Instruction) -> Prediction:
    """Give a prediction counts: 0 for categories that were asked for and not found, and for no other label."""
    counted = {label: n for label, n in counts_of(prediction).items() if n}
    return replace(prediction, counts=dict.fromkeys(instruction.categories, 0) | counted)
