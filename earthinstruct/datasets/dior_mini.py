"""Download `dior-mini` from the public repository of the authors of InstructSAM, the only dataset downloaded here.

The commit is pinned, and every file is checked against its sha256 before the folder is put in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from earthinstruct.datasets.coco import check_file_name
from earthinstruct.datasets.registry import data_root
from earthinstruct.errors import DataError, EarthInstructError, UnknownNameError
from earthinstruct.files import new_folder

COMMIT = "1e746a7e079d8d4a53ea479f1409ba2b29fd080a"
URL = f"https://raw.githubusercontent.com/VoyagerXvoyagerx/InstructSAM/{COMMIT}/"
LICENCE = (
    "The repository VoyagerXvoyagerx/InstructSAM (Zheng et al. 2025) is under the Apache License 2.0. Its four images "
    "are of DIOR (Li et al. 2020), for research: the paper says CC BY-NC 4.0, other copies say otherwise."
)
_TIMEOUT = 30  # seconds without a response
_RECORDED = "gpt-4o-2024-11-20"
_PREDICTIONS = "sam2_hiera_l_georsclip_preds_coco.json"
_SUBCLASS = "open_subclass_means_of_transport"

# local file -> (remote file, sha256)
FILES: Mapping[str, tuple[str, str]] = {
    "LICENSE.txt": ("LISCENSE.txt", "8646bcc0884eba9f58f2486a31a886ee38319c873ef791412a86e2215066d707"),
    "images/06486.jpg": (
        "datasets/dior/JPEGImages-trainval/06486.jpg",
        "3afe0d1cfa10ec93f80ef72f0c1f46326f29fef480712979dee3cafac068a27d",
    ),
    "images/06796.jpg": (
        "datasets/dior/JPEGImages-trainval/06796.jpg",
        "4580a8698e1731bf6e604623e1b7a729f1ab38edb8c28cdc73f5515a84fb8238",
    ),
    "images/09100.jpg": (
        "datasets/dior/JPEGImages-trainval/09100.jpg",
        "296e432b70b690e7faf74b0c21a4ee0395639186ab7756971ab236c664056e9f",
    ),
    "images/09938.jpg": (
        "datasets/dior/JPEGImages-trainval/09938.jpg",
        "5b553d687d8a569e80a4f1eb6b72a3ed254e8d49b642fdca858320e45180d093",
    ),
    "proposals.json": (
        "region_proposals/dior_mini/sam2_hiera_l.json",
        "e8c86d31ec9675bfccbcf16bc212b34910d3e2107ec48e7ea37b22f4da0abf35",
    ),
    **{
        f"predictions/{setting}.json": (
            f"results/dior_mini/{folder}/coco_preds/{_RECORDED}_{task}_{_PREDICTIONS}",
            sha256,
        )
        for setting, folder, task, sha256 in (
            (
                "open_vocabulary",
                "open_vocabulary",
                "open_vocabulary",
                "6e102e1d6459a9d7b31e9f3a7639998253646f4e1c99e6e4d14cdca92a69e296",
            ),
            (
                "open_ended",
                "open_ended",
                "open_ended",
                "2f9b5e7dda196ed0a9170bcbe62fbee3660751d4c425c1d00d1e3dee121e205b",
            ),
            (
                _SUBCLASS,
                "open_subclass",
                f"{_SUBCLASS}s",
                "f17af36d5d600ff30eeff6bd7958fbd1b16ee7f1f595c9de62d51758d87e66b8",
            ),
        )
    },
    **{
        f"counts/{setting}/{image}.json": (f"object_counts/dior_mini/{_RECORDED}_{task}/{image}.json", sha256)
        for setting, task, hashes in (
            (
                "open_vocabulary",
                "open_vocabulary",
                {
                    "06486": "45c5aed3a12bd407ba3d57165074a94065f58ff2d9dac96d873e2ab4f40592f9",
                    "06796": "36c7976e25dc8b968e20da72462e5ec059928ae0bcefa1643fb0a2116fd1e07a",
                    "09100": "abba7c599e7c551e195f13821ed49351a0bd69064937ffa0ba9c6f23f0aaa21c",
                    "09938": "1cfb1aa0066b840b188d9344b6b6f8640da4ac04f7ea48c93703a7cde3b8a7a1",
                },
            ),
            (
                "open_ended",
                "open_ended",
                {
                    "06486": "1df94e7d288e141a166ec14527563d3b25580505aa6d92ea00bf9059366910d1",
                    "06796": "8f209fe2ca06a34a63ed7bab877bf87ccd5c0d945f2e02ff11fa1771ebee35b0",
                    "09100": "ea330333ae2621ed614b3d9e6d28e4959dcf9e47cf51caa0bfa9ac6cb6210ff6",
                    "09938": "528db0746cb67de41a9bae6bbfa397926181021b51680cbd1cbd3e3e289b24c7",
                },
            ),
            (
                _SUBCLASS,
                f"{_SUBCLASS}s",
                {
                    "06486": "ea2f19f95430d94fad5b63e462d9e7b8c5a4ace2d83037732b3f47fc0b25b898",
                    "06796": "1931e1321d65368bdafd42ba7fb7f106a3435e412a1ea54aead507cb1f18175e",
                    "09100": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
                    "09938": "f4d9306898e23e8f48c34025ac2a7122dc7663aef530cb90283e6e8ccb9556bb",
                },
            ),
        )
        for image, sha256 in hashes.items()
    },
    "annotations.json": (
        "datasets/dior/dior_mini_ann.json",
        "640b1ae95d0adaa86bb5d122d20d38034e5461a1525e38909feb5fa8e8375aba",
    ),
}


def fetch(
    folder: Path,
    *,
    url: str = URL,
    files: Mapping[str, tuple[str, str]] = FILES,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Download every file to a temporary folder beside `folder`, check it, and rename the folder at the end.

    Args:
        folder: the folder to create; must be missing or empty.
        url: the base address of the files.
        files: local file -> (remote file, sha256).
        progress: a callback `(done, total)`, called after each file.

    Returns:
        The folder.

    Raises:
        DataError: `folder` is not empty, a name leads out of it, a file cannot be downloaded, or a file is not the
            pinned one. Nothing is left behind then.
    """
    import pooch
    import requests

    for name in files:
        check_file_name(name, "list of files to fetch")
    pooch.get_logger().setLevel("ERROR")
    with new_folder(folder, "remove it to download it again, or give another folder with --data DIR") as unfinished:
        for done, (name, (source, sha256)) in enumerate(files.items(), start=1):
            target = unfinished / name
            try:
                pooch.retrieve(
                    url + source,
                    known_hash=f"sha256:{sha256}",
                    fname=target.name,
                    path=target.parent,
                    downloader=pooch.HTTPDownloader(timeout=_TIMEOUT),
                )
            except requests.RequestException as error:
                raise DataError(
                    f"{url + source} cannot be downloaded: {error}. Check the connection, or download the files on "
                    f"another machine and put them into {folder} (see data/README.md)"
                ) from error
            except ValueError as error:  # raised by pooch for a wrong hash
                raise DataError(f"{url + source} is not the pinned file: {error}") from error
            if progress is not None:
                progress(done, len(files))
    return folder


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
        DataError: the folder is not empty, or a file cannot be fetched or is not the pinned one.
    """
    offer = fetch_offer(dataset, data)
    if not yes:
        raise EarthInstructError(f"nothing was fetched; accept the licence with yes=True: {offer}")
    return fetch(_place(data), url=URL, progress=progress)


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
