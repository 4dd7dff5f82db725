"""The registry of datasets: their names, and how each is found on this machine."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from earthinstruct.datasets import dior, nwpu
from earthinstruct.datasets.coco import read_coco
from earthinstruct.datasets.dataset import Dataset, Origin
from earthinstruct.datasets.folders import read_csv, read_folder
from earthinstruct.datasets.prepare import PREFIX
from earthinstruct.datasets.training_sets import images_from_file
from earthinstruct.errors import DataError, UnknownNameError, checked_arguments
from earthinstruct.registry import DATASETS, Plugin, PluginError, plugins
from earthinstruct.tasks import DIOR, NWPU, Task, Vocabulary, tasks_of

DATA_VARIABLE = "EARTHINSTRUCT_DATA"
ANNOTATIONS = "annotations.json"


@dataclass(frozen=True)
class DatasetSource:
    """A dataset that can be loaded by name.

    Attributes:
        name: for example "dior-mini".
        summary: a description in a few words.
        vocabulary: its categories, known before it is loaded.
        load: a function from (data root or None, image folder or None) to a `Dataset`. A source of files may take the
            keyword `skip_invalid` (see `load_dataset`).
        missing: a function from data root or None to a sentence that says what this machine lacks and how to get it, or
            None if nothing is missing.
    """

    name: str
    summary: str
    vocabulary: Vocabulary
    load: Callable[..., Dataset]
    missing: Callable[[Path | None], str | None]


def data_root(root: Path | None = None) -> Path:
    """The folder of datasets: `root` if given, otherwise the value of EARTHINSTRUCT_DATA, otherwise `data`."""
    return root or Path(os.environ.get(DATA_VARIABLE) or "data")


@dataclass(frozen=True)
class _FolderDataset:
    """A dataset in a folder of the user: one of `files` in `<root>/<folder>` or in `<root>`.

    The images of an `annotations.json` are in `images/` beside it. A prepared file holds paths relative to its folder.
    """

    name: str
    folder: str
    files: tuple[str, ...]
    summary: str
    vocabulary: Vocabulary
    how_to_get: str
    renamed: tuple[tuple[str, str], ...] = ()

    def candidates(self, root: Path | None) -> list[Path]:
        base = data_root(root)
        folders = [base / self.folder, *([base] if root is not None else [])]
        return [folder / file for folder in folders for file in self.files]

    def missing(self, root: Path | None) -> str | None:
        looked = sorted(self.candidates(root))
        if any(path.is_file() for path in looked):
            return None
        return (
            f"not found: looked for {' and '.join(str(path) for path in looked)}. {self.how_to_get} "
            f"Then give its folder with --data DIR or the environment variable {DATA_VARIABLE}."
        )

    def load(self, root: Path | None, images: Path | None, *, skip_invalid: bool = False) -> Dataset:
        path = next((path for path in self.candidates(root) if path.is_file()), None)
        if path is None:
            raise DataError(f"dataset {self.name!r} {self.missing(root)}")
        beside = path.parent / "images" if path.name == ANNOTATIONS else path.parent
        return read_coco(
            path,
            name=self.name,
            image_root=images or (beside if beside.is_dir() else None),
            vocabulary=self.vocabulary,
            renamed=dict(self.renamed),
            skip_invalid=skip_invalid,
        )

    def source(self) -> DatasetSource:
        return DatasetSource(self.name, self.summary, self.vocabulary, self.load, self.missing)


def _dior(split: str, name: str, summary: str) -> _FolderDataset:
    return _FolderDataset(
        name=name,
        folder="dior",
        files=(dior.file_name(split),),
        summary=summary,
        vocabulary=DIOR,
        how_to_get=(
            "Unpack DIOR and make this file: earthinstruct data prepare dior ROOT"
            + (f" --split {split}." if split != "val" else ".")
        ),
    )


_FOLDERS = (
    _FolderDataset(
        name="dior-mini",
        folder="dior_mini",
        files=(ANNOTATIONS,),
        summary="four images of DIOR val, to try a method on real pixels",
        vocabulary=DIOR,
        how_to_get="Get it: earthinstruct data fetch dior-mini.",
    ),
    _dior("val", "dior", "DIOR val, 5,863 images: the split of the paper"),
    _dior("test", "dior-test", "DIOR test, 11,738 images"),
    _FolderDataset(
        name="nwpu",
        folder="nwpu",
        files=(nwpu.FILE_NAME, ANNOTATIONS),
        summary="NWPU VHR-10, the 650 positive images",
        vocabulary=NWPU,
        how_to_get=(
            "Put the COCO re-annotation there as annotations.json, and unpack the official download beside it, then: "
            "earthinstruct data prepare nwpu ROOT (see data/README.md)."
        ),
        renamed=nwpu.RENAMED,
    ),
)


def _load_scenes(root: Path | None, images: Path | None) -> Dataset:
    """Load the test split of the embedded dataset, generated on first use and kept in the user's cache folder."""
    from earthinstruct.datasets.scenes import cached_test_split, scene_attributes

    folder = cached_test_split()
    dataset = read_coco(
        folder / "annotations.json", name="scenes", image_root=images or folder / "images", vocabulary=NWPU
    )
    # not in its file, so that its hash, by which results name it, stays
    of_images = {image.id: scene_attributes("test", i) for i, image in enumerate(dataset.images)}
    attributes = {name: {image: of[name] for image, of in of_images.items()} for name in ("gsd", "kind")}
    return replace(dataset, label_map="clip:small", attributes=attributes)


_SCENES = DatasetSource(
    name="scenes",
    summary="48 drawn aerial scenes with the categories of NWPU, generated on first use, to try the benchmark",
    vocabulary=NWPU,
    load=_load_scenes,
    missing=lambda root: None,
)


def dataset_sources() -> dict[str, DatasetSource]:
    """All named datasets: ours, and those of plug-ins (entry points that are a `DatasetSource`).

    A plug-in that cannot be imported is listed as missing, and raises its error on `load`.
    """
    ours = {"scenes": _SCENES} | {folder.name: folder.source() for folder in _FOLDERS}
    return {name: _plugged(plugin) for name, plugin in plugins(DATASETS).items()} | ours


def _plugged(plugin: Plugin) -> DatasetSource:
    try:
        source = plugin.load()
        if not isinstance(source, DatasetSource):
            raise PluginError(
                f"dataset {plugin.name!r} of distribution {plugin.distribution!r} is a {type(source).__name__}; its "
                "entry point must name an earthinstruct.datasets.DatasetSource"
            )
    except PluginError as error:
        problem = error  # Python deletes `error` after the block

        def fail(root: Path | None, images: Path | None) -> Dataset:
            raise problem

        return DatasetSource(plugin.name, "", Vocabulary(()), fail, lambda root: f"warning: {problem}")
    return replace(source, name=plugin.name)


def list_datasets(data: Path | str | None = None) -> list[dict[str, str | None]]:
    """Every named dataset: `name`, `summary` and what is `missing` on this machine.

    Args:
        data: the folder of the user's data; None: see `data_root`.
    """
    root = None if data is None else Path(data)
    return [
        {"name": source.name, "summary": source.summary, "missing": source.missing(root)}
        for source in dataset_sources().values()
    ]


def list_tasks() -> list[dict[str, str]]:
    """Every task of the named datasets: `name`, `version` and `scored categories`."""
    return [
        {"name": task.name, "version": task.version, "scored categories": ", ".join(task.categories)}
        for source in dataset_sources().values()
        for task in tasks_of(source.name, source.vocabulary)
    ]


@checked_arguments
def load_dataset(
    name: str | Path,
    data: Path | str | None = None,
    images: Path | str | None = None,
    *,
    skip_invalid: bool = False,
) -> Dataset:
    """Load a dataset by name, or a COCO file, a CSV file or a folder by path.

    Args:
        name: a registered name, the path of a COCO annotation file (`*.json`, `*.json.gz`), of a CSV file with one box
            a line, or of a folder or its `data.yaml` (see `earthinstruct.datasets.folders.read_folder`).
        data: the folder of the user's data; None: see `data_root`.
        images: the folder of the images; None: `images` beside the annotation file if it exists, otherwise the folder
            of the file.
        skip_invalid: leave out the objects that no method can find, such as boxes outside their image, and count them
            in `notes`. Otherwise a dataset with such objects is refused.

    Raises:
        UnknownNameError: no dataset has this name.
        DataError: the dataset is not on this machine, or its files are malformed.
    """
    name, root = str(name), None if data is None else Path(data)
    images = None if images is None else Path(images)
    if images is not None and not images.is_dir():
        raise DataError(f"image folder {images} does not exist; give --images DIR, or leave it out")
    registered = not _is_file_name(name) and name in dataset_sources()
    origin = Origin(
        name if registered else str(Path(name).absolute()),
        str(data_root(root).absolute()) if registered else None,
        None if images is None else str(images.absolute()),
        skip_invalid,
    )
    dataset = replace(_load(name, root, images, skip_invalid), origin=origin)
    if registered or dataset.images_from is not None:
        return dataset
    path = Path(name)
    return replace(dataset, images_from=images_from_file(path if path.is_dir() else path.parent))


def _is_file_name(name: str) -> bool:
    return name.lower().endswith((".json", ".json.gz", ".csv", ".yaml", ".yml"))


def _load(name: str, root: Path | None, images: Path | None, skip_invalid: bool) -> Dataset:
    path = Path(name)
    if _is_file_name(name) and not path.is_file():
        raise DataError(f"annotation file {path} cannot be read: No such file or directory")
    if path.suffix.lower() == ".csv":
        return read_csv(path, images, skip_invalid=skip_invalid)
    if path.suffix.lower() in (".yaml", ".yml"):
        return read_folder(path.parent, images, skip_invalid=skip_invalid)
    if _is_file_name(name):
        beside = path.parent if path.name.startswith(PREFIX) else path.parent / "images"
        stem = path.name.partition(".json")[0]
        own_name = path.parent.resolve().name if stem == "annotations" else stem
        root_of_images = images or (beside if beside.is_dir() else path.parent)
        return read_coco(path, name=own_name, image_root=root_of_images, skip_invalid=skip_invalid)
    sources = dataset_sources()
    if name not in sources:
        if Path(name).is_dir():
            return read_folder(path, images, skip_invalid=skip_invalid)
        raise UnknownNameError("dataset", name, sources, "Give your own COCO file (*.json) or folder by its path.")
    load = sources[name].load
    if skip_invalid and "skip_invalid" in inspect.signature(load).parameters:
        return load(root, images, skip_invalid=True)
    return load(root, images)  # drawn scenes, for example, have no invalid object


@checked_arguments
def load_task(name: str) -> Task:
    """Look up a task by name, for example `nwpu/open_vocabulary` or `dior-mini/open_subclass/sports_field`.

    Raises:
        UnknownNameError: no task has this name.
    """
    known = {
        task.name: task for source in dataset_sources().values() for task in tasks_of(source.name, source.vocabulary)
    }
    if name not in known:
        raise UnknownNameError("task", name, known)
    return known[name]
