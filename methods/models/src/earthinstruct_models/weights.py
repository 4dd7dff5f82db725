"""Weights of models: which there are, where they are published, where they lie on this machine, how they get there.

Nothing here is fetched unless `fetch` is called. A hash that is not known is None: the first fetch writes the one it
saw beside the file, and later fetches are held against it.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from platformdirs import user_data_path

from earthinstruct.errors import DataError, EarthInstructError, UnknownNameError

if TYPE_CHECKING:
    import requests

FOLDER_VARIABLE = "EARTHINSTRUCT_WEIGHTS"
_TIMEOUT = 30  # seconds without an answer
_CHUNK = 1 << 16  # bytes; what a broken connection loses at most
_SAM2_SIZES = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}  # in files -> in names of models
_LOCAL = ("localhost", "127.0.0.1", "::1")

Progress = Callable[[int, int | None], None]  # bytes here, bytes in all where the server says


@dataclass(frozen=True)
class Weights:
    """A file, or a folder of files, of one trained model.

    Attributes:
        name: what it is asked for by.
        file: its name in the weights folder.
        page: where its authors publish it.
        url: the file itself, or an archive (`.zip`) that holds it; None: a folder of files, to be taken from the page.
        licence: as its authors state it; None: not known here, see the page.
        sha256: of `file`; None: not known.
    """

    name: str
    file: str
    page: str
    url: str | None = None
    licence: str | None = None
    sha256: str | None = None

    @property
    def path(self) -> Path:
        """Where it lies on this machine, whether it is there or not."""
        return weights_folder() / self.file

    @property
    def here(self) -> bool:
        """Whether it is there."""
        return self.path.exists()

    @property
    def how_to_get(self) -> str:
        """One sentence: what to do when it is missing."""
        if self.url is None:
            return f"get the folder {self.file} from {self.page} and put it at {self.path}"
        source = Path(urlsplit(self.url).path)
        place = f"its checkpoint at {self.path}" if source.suffix == ".zip" else f"it at {self.path}"
        return (
            f"python -m earthinstruct_models fetch {self.name}, or get {source.name} from {self.page} and put {place}"
        )


def _hub(name: str, repository: str, file: str, licence: str | None = None) -> Weights:
    page = f"https://huggingface.co/{repository}"
    return Weights(name, f"{name}{Path(file).suffix}", page, f"{page}/resolve/main/{file}", licence)


def _skyclip(name: str, archive: str) -> Weights:
    url = f"https://opendatasharing.s3.us-west-2.amazonaws.com/SkyScript/ckpt/{archive}.zip"
    return Weights(name, f"{name}.pt", "https://github.com/wangzhecheng/SkyScript", url, "MIT, of the repository")


def _sam2(release: str, size: str) -> Weights:
    date = {"sam2": "072824", "sam2.1": "092824"}[release]
    file = f"{release}_hiera_{size}.pt"
    return Weights(
        f"{release}_hiera_{_SAM2_SIZES[size]}",
        file,
        "https://github.com/facebookresearch/sam2",
        f"https://dl.fbaipublicfiles.com/segment_anything_2/{date}/{file}",
        "Apache-2.0",
    )


def _folder(name: str, repository: str, licence: str | None) -> Weights:
    return Weights(name, repository.partition("/")[2], f"https://huggingface.co/{repository}", licence=licence)


WEIGHTS: Mapping[str, Weights] = {
    weights.name: weights
    for weights in (
        _hub("georsclip-l14", "Zilun/GeoRSCLIP", "ckpt/RS5M_ViT-L-14.pt"),
        _hub("georsclip-b32", "Zilun/GeoRSCLIP", "ckpt/RS5M_ViT-B-32.pt"),
        _hub("remoteclip-l14", "chendelong/RemoteCLIP", "RemoteCLIP-ViT-L-14.pt"),
        _hub("remoteclip-b32", "chendelong/RemoteCLIP", "RemoteCLIP-ViT-B-32.pt"),
        _skyclip("skyclip-l14", "SkyCLIP_ViT_L14_top30pct_filtered_by_CLIP_laion_RS"),
        _skyclip("skyclip-b32", "SkyCLIP_ViT_B32_top50pct"),
        _hub("dfn2b-l14", "apple/DFN2B-CLIP-ViT-L-14-39B", "open_clip_pytorch_model.bin", "apple-sample-code-license"),
        *(_sam2(release, size) for release in ("sam2", "sam2.1") for size in _SAM2_SIZES),
        _folder("qwen2.5-vl-7b", "Qwen/Qwen2.5-VL-7B-Instruct", "Apache-2.0"),
        _folder("qwen3-vl-8b", "Qwen/Qwen3-VL-8B-Instruct", "Apache-2.0"),
        _folder("grounding-dino-base", "IDEA-Research/grounding-dino-base", "Apache-2.0"),
        _folder("mm-grounding-dino-tiny", "openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg_v3det", None),
        _folder("owlv2-large", "google/owlv2-large-patch14-ensemble", "Apache-2.0"),
        _folder("sam3", "facebook/sam3", "SAM License, on request"),
    )
}


def weights_folder() -> Path:
    """Where weights lie: the folder that EARTHINSTRUCT_WEIGHTS names, else the user's data folder."""
    given = os.environ.get(FOLDER_VARIABLE)
    return Path(given).expanduser() if given else user_data_path("earthinstruct") / "weights"


def find_weights(name: str) -> Path:
    """The path of weights that are on this machine.

    Raises:
        UnknownNameError: no such weights.
        DataError: they are not on this machine; says where to get them and where they go.
    """
    weights = _known(name)
    if not weights.here:
        raise DataError(f"the weights {name} are not at {weights.path}: {weights.how_to_get}")
    return weights.path


def file_sha256(path: Path) -> str:
    """The sha256 of a file; computed once for a file that does not change."""
    state = path.stat()
    return _sha256(path.resolve(), state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, _size: int, _changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(name: str, progress: Progress | None = None, table: Mapping[str, Weights] = WEIGHTS) -> Path:
    """Download weights into the weights folder; a broken download goes on where it stopped.

    The file is put in place only whole, and only with the hash that is known: from the table, else from an earlier
    fetch (`<file>.sha256`, as sha256sum writes it).

    Args:
        name: a name of the table.
        progress: called with the bytes here and in all.
        table: what there is.

    Returns:
        The path of the file.

    Raises:
        UnknownNameError: no such weights.
        EarthInstructError: they are a folder, to be taken from their page.
        DataError: the server cannot be reached or answers with an error, an address is not https, or the file is not
            the known one.
    """
    weights = _known(name, table)
    if weights.url is None:
        raise EarthInstructError(f"{name} is a folder of files, not one file: {weights.how_to_get}")
    target = weights.path
    beside = target.with_name(f"{target.name}.sha256")
    known = weights.sha256 or (beside.read_text(encoding="utf-8").partition(" ")[0] if beside.is_file() else None)
    if not target.is_file():
        part = target.with_name(f"{target.name}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _download(weights.url, part, progress)
            if urlsplit(weights.url).path.endswith(".zip"):
                part = _unpack(part)
        except OSError as error:
            raise DataError(f"{target} cannot be written: {error}") from error
        found = file_sha256(part)
        if known not in (None, found):
            part.unlink()
            raise DataError(
                f"{weights.url} has the sha256 {found}, expected {known}; it is not kept. See {weights.page}"
            )
        part.replace(target)
    found = file_sha256(target)
    if known not in (None, found):
        raise DataError(f"{target} has the sha256 {found}, expected {known}; remove it and fetch it again")
    beside.write_text(f"{found}  {target.name}\n", encoding="utf-8")
    return target


def _known(name: str, table: Mapping[str, Weights] = WEIGHTS) -> Weights:
    if name not in table:
        raise UnknownNameError("weights", name, table)
    return table[name]


def _download(url: str, part: Path, progress: Progress | None) -> None:
    """Download to `part`, behind what it holds already; pooch, used elsewhere, starts again from nothing."""
    import requests

    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with _session() as session, session.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                if answer.headers.get("Content-Range") == f"bytes */{have}":  # it is whole
                    return
                part.unlink()
                raise DataError(f"{url} has changed since its download began; run the same command to start again")
            answer.raise_for_status()
            have = have if answer.status_code == requests.codes.partial_content else 0
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            with part.open("ab" if have else "wb") as file:
                for chunk in answer.iter_content(_CHUNK):
                    file.write(chunk)
                    have += len(chunk)
                    if progress is not None:
                        progress(have, total)
    except requests.RequestException as error:
        raise DataError(
            f"{url} cannot be fetched: {error}. What came is kept: run the same command to go on"
        ) from error
    if total not in (None, have):
        raise DataError(f"{url} ended after {have} of {total} bytes; run the same command to go on")


def _session() -> requests.Session:
    """A session that goes, redirected or not, to https addresses only, and to this machine."""
    import requests

    class HttpsSession(requests.Session):
        def get_adapter(self, url: str) -> Any:
            parts = urlsplit(url)
            if parts.scheme != "https" and parts.hostname not in _LOCAL:
                raise DataError(f"{parts.scheme}://{parts.hostname} is not fetched from: only https is")
            return super().get_adapter(url)

    return HttpsSession()


def _unpack(archive: Path) -> Path:
    """The one checkpoint of an archive, beside it; the archive is removed."""
    unpacked = archive.with_suffix(".unpacked")
    try:
        with zipfile.ZipFile(archive) as content:
            members = [m for m in content.infolist() if not m.is_dir() and Path(m.filename).suffix in (".pt", ".bin")]
            if len(members) != 1:
                raise DataError(f"{archive} holds {len(members)} checkpoints (*.pt, *.bin), expected one")
            with content.open(members[0]) as source, unpacked.open("wb") as target:
                shutil.copyfileobj(source, target, _CHUNK)
    except zipfile.BadZipFile as error:
        archive.unlink()
        raise DataError(
            f"{archive} is not a whole archive ({error}); it is removed: run the same command again"
        ) from error
    archive.unlink()
    return unpacked
