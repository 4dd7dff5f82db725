"""What `doctor` says of the machine: torch and the devices that it finds, folders of ours, free disk."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Device:
    """Something that a model runs on.

    Attributes:
        name: as torch and `-M device=NAME` call it.
        title: what it is, in words.
        memory: bytes; None: not known.
        free: bytes of them that nothing uses.
    """

    name: str
    title: str
    memory: int | None = None
    free: int | None = None

    def __str__(self) -> str:
        memory = "" if self.memory is None or self.free is None else f", {_size(self.memory)}, {_size(self.free)} free"
        return f"{self.name}: {self.title}{memory}"


@dataclass(frozen=True)
class Folder:
    """A folder that fills up over time.

    Attributes:
        name: what lies there.
        path: where it is.
        exists: whether it is there; it is made on first use.
        used: bytes of the files in it.
        free: bytes of its disk that are free; None: not known.
    """

    name: str
    path: str
    exists: bool
    used: int
    free: int | None

    def __str__(self) -> str:
        state = f"{_size(self.used)} used" if self.exists else "not made yet"
        disk = "" if self.free is None else f", {_size(self.free)} of the disk free"
        return f"folder of {self.name} {self.path}: {state}{disk}"


@dataclass(frozen=True)
class Torch:
    """The torch that methods would import. `problem` says why there is none: not installed, or broken."""

    version: str | None
    problem: str | None = None


def torch_and_devices() -> tuple[Torch, list[Device]]:
    """Torch, and the devices that it finds; importing it takes seconds."""
    processors = Device("cpu", f"{os.cpu_count() or 1} processors")
    try:
        import torch
    except ModuleNotFoundError:
        return Torch(None, "not installed; methods with models need it: pip install torch"), [processors]
    except (ImportError, OSError) as error:  # a library that it needs does not load
        return Torch(None, f"it does not import ({error}); install it anew: pip install --force-reinstall torch"), [
            processors
        ]
    devices = []
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, memory = torch.cuda.mem_get_info(i)
        devices.append(Device(f"cuda:{i}", torch.cuda.get_device_name(i), memory, free))
    if torch.backends.mps.is_available():
        devices.append(Device("mps", "Apple GPU"))
    return Torch(str(torch.__version__)), [*devices, processors]


def folders() -> tuple[list[Folder], list[str]]:
    """Folders, and why plug-ins that would name one cannot.

    They are the cache of datasets and what the entry-point group `earthinstruct.folders` names: functions that return a
    path.
    """
    from platformdirs import user_cache_path

    from earthinstruct.registry import FOLDERS, PluginError, plugins

    found, problems = [_folder("caches", user_cache_path("earthinstruct"))], []
    for plugin in plugins(FOLDERS).values():
        try:
            found.append(_folder(plugin.name, Path(plugin.load()())))
        except PluginError as error:
            problems.append(f"warning: {error}")
    return found, problems


def _folder(name: str, path: Path) -> Folder:
    used = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    there = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    return Folder(name, str(path), path.is_dir(), used, shutil.disk_usage(there).free)


def _size(count: int) -> str:
    """Bytes as people read them.

    >>> _size(950), _size(16_420_000), _size(85_000_000_000)
    ('950 B', '16.4 MB', '85.0 GB')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"
