"""`doctor`: what works on this machine and what is missing: torch, devices, folders, datasets and methods."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from rich.filesize import decimal

from earthinstruct.datasets import list_datasets
from earthinstruct.errors import checked_arguments
from earthinstruct.registry import FOLDERS, PluginError, list_methods, more_methods, plugins
from earthinstruct.results import Shown

if TYPE_CHECKING:
    from earthinstruct.results import Block


@dataclass(frozen=True)
class Device:
    """Something that a model runs on."""

    name: str  # as torch and `-M device=NAME` call it
    title: str  # what it is, in words
    memory: int | None = None  # bytes; None: not known
    free: int | None = None  # bytes of them that nothing uses

    def __str__(self) -> str:
        memory = (
            "" if self.memory is None or self.free is None else f", {decimal(self.memory)}, {decimal(self.free)} free"
        )
        return f"{self.name}: {self.title}{memory}"


@dataclass(frozen=True)
class Folder:
    """A folder that fills up over time."""

    name: str  # what lies there
    path: str
    exists: bool  # it is made on first use
    used: int  # bytes of the files in it
    free: int  # bytes of its disk that nothing uses

    def __str__(self) -> str:
        state = f"{decimal(self.used)} used" if self.exists else "not made yet"
        return f"folder of {self.name} {self.path}: {state}, {decimal(self.free)} of the disk free"


@dataclass(frozen=True, repr=False)
class Machine(Shown):
    """What works on this machine and what is missing.

    Attributes:
        earthinstruct: the version of this package.
        python: the version of Python.
        platform: the operating system and the processor.
        torch: the version of torch, or None.
        torch_problem: why torch cannot be imported, or None.
        devices: what models can run on.
        folders: folders that fill up over time.
        problems: why a plug-in cannot name its folder.
        datasets: the rows of `list_datasets`.
        methods: the rows of `list_methods`.
        more_methods: how to get more methods; empty if others than the controls are installed.
    """

    earthinstruct: str
    python: str
    platform: str
    torch: str | None
    torch_problem: str | None
    devices: list[Device]
    folders: list[Folder]
    problems: list[str]
    datasets: list[dict[str, str | None]]
    methods: list[dict[str, str]]
    more_methods: str

    @property
    def ok(self) -> bool:
        """Whether no plug-in is broken."""
        missing = [*(row["missing"] for row in self.datasets), *(row["missing"] for row in self.methods)]
        return not self.problems and not any(str(what).startswith("warning:") for what in missing)

    def blocks(self) -> Iterator[Block]:
        """A line for each thing, "ok" or "missing"."""
        yield f"ok       earthinstruct {self.earthinstruct}, Python {self.python}, {self.platform}"
        yield f"missing  torch: {self.torch_problem}" if self.torch_problem else f"ok       torch {self.torch}"
        yield from (f"ok       device {device}" for device in self.devices)
        yield from (f"ok       {folder}" for folder in self.folders)
        yield from (f"missing  {problem}" for problem in self.problems)
        rows = [("dataset", row["name"], "", row["missing"]) for row in self.datasets]
        rows += [("method", row["name"], ":", row["missing"]) for row in self.methods]
        for kind, name, colon, missing in rows:
            yield f"missing  {kind} {name}{colon} {missing}" if missing else f"ok       {kind} {name}"
        if self.more_methods:
            yield f"missing  methods: {self.more_methods}"


@checked_arguments
def doctor(*, data: Path | str | None = None) -> Machine:
    """What works on this machine, what is missing, and how to get it. It imports torch, which takes seconds.

    Args:
        data: the folder of the user's data; None: see `earthinstruct.datasets.data_root`.
    """
    torch, torch_problem, devices = torch_and_devices()
    places, problems = folders()
    return Machine(
        earthinstruct=version("earthinstruct"),
        python=platform.python_version(),
        platform=platform.platform(),
        torch=torch,
        torch_problem=torch_problem,
        devices=devices,
        folders=places,
        problems=problems,
        datasets=list_datasets(data),
        methods=list_methods(),
        more_methods=more_methods(),
    )


def torch_and_devices() -> tuple[str | None, str | None, list[Device]]:
    """The version of torch, or why it cannot be imported, and the devices that it finds. Importing it takes seconds."""
    processors = Device("cpu", f"{os.cpu_count() or 1} processors")
    try:
        import torch
    except ModuleNotFoundError:
        return None, "not installed; methods with models need it: pip install torch", [processors]
    except (ImportError, OSError) as error:  # a library that it needs does not load
        return None, f"it does not import ({error}); install it anew: pip install --force-reinstall torch", [processors]
    devices = []
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, memory = torch.cuda.mem_get_info(i)
        devices.append(Device(f"cuda:{i}", torch.cuda.get_device_name(i), memory, free))
    if torch.backends.mps.is_available():
        devices.append(Device("mps", "Apple GPU"))
    return str(torch.__version__), None, [*devices, processors]


def folders() -> tuple[list[Folder], list[str]]:
    """Folders, and why plug-ins that would name one cannot.

    They are the cache of datasets and what the entry-point group `earthinstruct.folders` names: functions that return a
    path.
    """
    from platformdirs import user_cache_path

    found, problems = [_folder("caches", user_cache_path("earthinstruct"))], []
    for plugin in plugins(FOLDERS).values():
        try:
            found.append(_folder(plugin.name, Path(plugin.load()())))
        except PluginError as error:
            problems.append(f"warning: {error}")
    return found, problems


def _folder(name: str, path: Path) -> Folder:
    used = sum(_size(Path(folder, file)) for folder, _, files in os.walk(path) for file in files)
    there = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    return Folder(name, str(path), path.is_dir(), used, shutil.disk_usage(there).free)


def _size(file: Path) -> int:
    """The bytes of a file; 0 where another process has removed it meanwhile, or it may not be looked at."""
    try:
        return file.stat().st_size
    except OSError:
        return 0
