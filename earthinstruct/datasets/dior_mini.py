"""Download `dior-mini` from the public repository of the authors of InstructSAM, the only dataset downloaded here.

The commit is pinned, and every file is checked against its sha256 in `dior_mini.txt` before the folder is put in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path

from earthinstruct.datasets.registry import data_root
from earthinstruct.download import download
from earthinstruct.errors import DataError, EarthInstructError, UnknownNameError
from earthinstruct.files import new_folder

COMMIT = "1e746a7e079d8d4a53ea479f1409ba2b29fd080a"
URL = f"https://raw.githubusercontent.com/VoyagerXvoyagerx/InstructSAM/{COMMIT}/"
LICENCE = (
    "The repository VoyagerXvoyagerx/InstructSAM (Zheng et al. 2025) is under the Apache License 2.0. Its four images "
    "are of DIOR (Li et al. 2020), for research: the paper says CC BY-NC 4.0, other copies say otherwise."
)

# local file -> (remote file, sha256)
FILES: Mapping[str, tuple[str, str]] = {
    local: (remote, sha256)
    for line in files(__package__).joinpath("dior_mini.txt").read_text("utf-8").splitlines()
    for sha256, local, remote in [line.split()]
}


def fetch_dataset(
    dataset: str = "dior-mini",
    *,
    data: Path | str | None = None,
    yes: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Download a small dataset. Nothing else of this package downloads anything.

    Args:
        dataset: `dior-mini`.
        data: the folder of the user's data; None: see `earthinstruct.datasets.data_root`.
        yes: the licence is accepted.
        progress: called after each file with the number done and the total.

    Returns:
        The folder of the dataset.

    Raises:
        UnknownNameError: another dataset.
        EarthInstructError: the licence is not accepted; the message quotes it.
        DataError: the folder is not empty, or a file cannot be fetched or is not the pinned one. Nothing is left then.
    """
    offer = fetch_offer(dataset, data)
    if not yes:
        raise EarthInstructError(f"nothing was fetched; accept the licence with yes=True: {offer}")
    folder = _place(data)
    with new_folder(folder, "remove it to download it again, or give another folder with --data DIR") as unfinished:
        for done, (name, (source, sha256)) in enumerate(FILES.items(), start=1):
            try:
                download(URL + source, unfinished / name, sha256=sha256)
            except DataError as error:
                raise DataError(
                    f"{error} Nothing is kept; check the connection, or download the files on another machine and put "
                    f"them into {folder} (see data/README.md)"
                ) from error
            if progress is not None:
                progress(done, len(FILES))
    return folder


def fetch_offer(dataset: str = "dior-mini", data: Path | str | None = None) -> str:
    """What `fetch_dataset` would download, from where to where, and under which licence.

    Raises:
        UnknownNameError: the dataset is not `dior-mini`.
    """
    if dataset != "dior-mini":
        raise UnknownNameError("dataset to fetch", dataset, ["dior-mini"], "Others are unpacked by you, then prepared.")
    return f"{len(FILES)} files from {URL} to {_place(data)}\n{LICENCE}"


def _place(data: Path | str | None) -> Path:
    return data_root(None if data is None else Path(data)) / "dior_mini"
