"""Was a method trained on the images that it is scored on? The mark of a row, and why it has it, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, get_args

from earthinstruct.contract import UNKNOWN_DATA
from earthinstruct.datasets import TRAINING_SETS, Overlap, images_of, overlaps

# names of sets, or part of the method -> names of sets; None: the method does not say
TrainingData = list[str] | dict[str, list[str]] | None
Mark = Literal["zero-shot", "seen", "unknown"]
MARKS: tuple[Mark, ...] = get_args(Mark)


@dataclass(frozen=True)
class Training:
    """Whether a method was trained on a dataset.

    Attributes:
        mark: `seen`: a set that it was trained on shares images with the dataset. `zero-shot`: all of these sets are
            known, and none is known to share an image. `unknown`: one of them, or where the images are from, is not
            known.
        words: what was seen, and by which part of the method; or what is not known.
    """

    mark: Mark
    words: str

    def __str__(self) -> str:
        return f"{self.mark}: {self.words}"


def judge_training(training_data: TrainingData, dataset: str, images_from: Sequence[str] | None = None) -> Training:
    """Judge whether a method was trained on a dataset.

    Args:
        training_data: as the method declares it.
        dataset: the name of the dataset.
        images_from: the sets that its images are from, as the dataset says itself, besides those of a named dataset of
            the suite. None for any other dataset, `unknown` or a name that is not in the table among them: unknown.

    >>> judge_training({"encoder": ["remoteclip-det-10"], "counter": ["unknown"]}, "dior").words
    'the encoder was trained on DET-10 of RemoteCLIP, which holds images of DIOR with their labels'
    """
    of_dataset = (*(images_of(dataset) or ()), *(images_from or ()))
    if not of_dataset and images_from is None:
        of_dataset = (UNKNOWN_DATA,)
    images = [name for name in of_dataset if name != UNKNOWN_DATA]
    parts = by_part(training_data)
    shared = {part: overlaps((name for name in names if name != UNKNOWN_DATA), images) for part, names in parts.items()}
    if any(shared.values()):
        seen: dict[str, list[str]] = {}
        for part, found in shared.items():
            if found:
                seen.setdefault(_seen(found[0], images), []).append(part)
        return Training("seen", "; ".join(f"{_were(who)} trained on {what}" for what, who in seen.items()))
    reasons = list(_not_known(training_data, parts))
    if any(parts.values()):
        if UNKNOWN_DATA in of_dataset:
            reasons.append(f"dataset {dataset} does not say which sets all its images are from")
        reasons += [
            f"dataset {dataset} has images from a set that is not known: {problem}" for problem in _strange(images)
        ]
    if reasons:
        return Training("unknown", "; ".join(reasons))
    return Training("zero-shot", _nothing_seen(parts, dataset, images))


def strange_sets(training_data: TrainingData) -> list[str]:
    """For each declared name that is not in the table of training sets, a sentence that says so."""
    return _strange(name for names in by_part(training_data).values() for name in names)


def training_note(training_data: TrainingData, absent: str) -> str | None:
    """What an author should mend in a declaration; None: nothing. `absent` says it of a method without one."""
    problems = [absent] if training_data is None else strange_sets(training_data)
    return f"{'; '.join(problems)}; `earthinstruct list training-sets` shows the names" if problems else None


def by_part(training_data: TrainingData) -> Mapping[str, Sequence[str]]:
    """A declaration as part, in words -> names of sets."""
    if isinstance(training_data, dict):
        return {f"the {part}": names for part, names in training_data.items()}
    return {"the method": training_data or []}


def _seen(overlap: Overlap, images: Sequence[str]) -> str:
    """What was seen, of a dataset whose images are from these sets."""
    what = f"images of {_title(overlap.shared)}"
    if overlap.through != overlap.shared:
        what = f"{_title(overlap.through)}, which holds {what}"
    words = f"{what} {'with' if overlap.labels else 'without'} their labels"
    if overlap.shared not in images:
        holds = "holds" if len(images) == 1 else "hold"
        words += f", and {_listed([_title(name) for name in images])} {holds} such images too"
    return f"{words}, according to a list by others" if overlap.by_others else words


def _not_known(training_data: TrainingData, parts: Mapping[str, Sequence[str]]) -> Iterable[str]:
    if training_data is None:
        yield "the method does not say what it was trained on"
    unknown = {part: names for part, names in parts.items() if UNKNOWN_DATA in names}
    for what, whole in (("what", True), ("what else", False)):
        if these := [part for part, names in unknown.items() if (set(names) == {UNKNOWN_DATA}) == whole]:
            yield f"{what} {_were(these)} trained on is not known"
    yield from strange_sets(training_data)


def _nothing_seen(parts: Mapping[str, Sequence[str]], dataset: str, images: Sequence[str]) -> str:
    names = list(dict.fromkeys(name for names in parts.values() for name in names))
    if not names:
        return "it was not trained"
    of = _listed([_title(name) for name in images]) if images else dataset
    words = f"no set that it was trained on is known to hold images of {of}"
    unchecked = [TRAINING_SETS[name].title for name in names if TRAINING_SETS[name].unchecked]
    if unchecked:
        words += f"; these come from the web or are not public, and cannot be checked: {', '.join(unchecked)}"
    return words


def _strange(names: Iterable[str]) -> list[str]:
    known = (*TRAINING_SETS, UNKNOWN_DATA)
    declared = dict.fromkeys(name for name in names if name not in known)
    return [f"{name!r} is not in the table of training sets{_near(name)}" for name in declared]


def _near(name: str) -> str:
    close = get_close_matches(name.lower(), TRAINING_SETS, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _title(name: str) -> str:
    return TRAINING_SETS[name].title if name in TRAINING_SETS else name


def _were(parts: Sequence[str]) -> str:
    return f"{_listed(parts)} {'was' if len(parts) == 1 else 'were'}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
