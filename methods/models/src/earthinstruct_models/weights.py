"""Weights of models: where they are published, where they are on this machine, and how to download them.

Only `fetch` downloads. An unknown hash is None: the first fetch writes the hash beside the file, and later fetches are
compared with it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import msgspec
from filelock import FileLock
from platformdirs import user_data_path

from earthinstruct.errors import DataError, UnknownNameError
from earthinstruct.files import is_hidden, replace_file

if TYPE_CHECKING:
    import requests

FOLDER_VARIABLE = "EARTHINSTRUCT_WEIGHTS"
_TIMEOUT = 30  # seconds without an answer
_CHUNK = 1 << 16  # bytes; the most that a broken connection loses
_SAM2_SIZES = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}  # suffix of files -> in names of models
_OF_FOLDERS = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.model")  # weights, and the files of the processor
_CHECKPOINTS = (".pt", ".pth", ".bin", ".safetensors")  # in an archive
_LARGE = 1 << 24  # bytes; a smaller file is hashed in a few milliseconds
_LOCAL = ("localhost", "127.0.0.1", "::1")

Progress = Callable[[int, int | None], None]  # bytes so far, and in total if the server says so


@dataclass(frozen=True)
class Weights:
    """A file, or a folder of files, of one trained model."""

    name: str  # in `WEIGHTS`
    file: str  # its name in the weights folder
    page: str  # where its authors publish it
    # the file itself, or an archive (`.zip`) that contains it; None: a folder, the page's repository on the Hub
    url: str | None = None
    licence: str | None = None  # as its authors state it; None: unknown, see the page
    sha256: str | None = None  # of `file`; None: unknown, or a folder

    @property
    def path(self) -> Path:
        """Its path on this machine, whether it exists or not."""
        return weights_folder() / self.file

    @property
    def here(self) -> bool:
        """Whether it is on this machine."""
        return self.path.exists()

    @property
    def how_to_get(self) -> str:
        """What to do if it is missing, in one sentence."""
        source = Path(urlsplit(self.url or f"/the folder {self.file}").path)
        what = "its checkpoint" if source.suffix == ".zip" else "it"
        command = f"python -m earthinstruct_models fetch {self.name}"
        return f"{command}, or get {source.name} from {self.page} and put {what} at {self.path}"


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
    """The folder of weights: the one that EARTHINSTRUCT_WEIGHTS names, else one in the user's data folder."""
    given = os.environ.get(FOLDER_VARIABLE)
    return Path(given).expanduser() if given else user_data_path("earthinstruct") / "weights"


def find_weights(name: str) -> Path:
    """The path of weights that are on this machine.

    Raises:
        UnknownNameError: no such weights.
        DataError: they are not on this machine; says where to get them and where they go.
    """
    weights = known_weights(name)
    if not weights.here:
        raise DataError(f"the weights {name} are not at {weights.path}: {weights.how_to_get}")
    return weights.path


class _KnownHash(msgspec.Struct):
    """The sha256 of a file of this size and time of change."""

    size: int
    changed: int  # nanoseconds
    sha256: str


def file_sha256(path: Path) -> str:
    """The sha256 of a file, computed once if the file does not change.

    It is kept in this process and, for a large file, in `.<file>.sha256.json` beside it, if that can be written.
    """
    path = path.resolve()
    state = path.stat()
    return _sha256(path, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, size: int, changed: int) -> str:
    beside = path.with_name(f".{path.name}.sha256.json")
    try:
        known = msgspec.json.decode(beside.read_bytes(), type=_KnownHash)
        if (known.size, known.changed) == (size, changed):
            return known.sha256
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        pass  # it is not known, or damaged
    found = _computed_sha256(path)
    if size >= _LARGE:
        with contextlib.suppress(OSError):  # a folder that cannot be written
            replace_file(beside, msgspec.json.encode(_KnownHash(size, changed, found)))
    return found


def _computed_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(name: str, progress: Progress | None = None, table: Mapping[str, Weights] = WEIGHTS) -> Path:
    """Download weights into the weights folder; a broken download continues where it stopped.

    The weights are put in place only when complete, and only if their hashes are the known ones: those of the table,
    else those of an earlier fetch (`<file>.sha256`, as sha256sum writes it). In a folder, the safetensors are hashed.
    One process downloads at a time.

    Args:
        name: a name of the table.
        progress: a callback `(done, total)` in bytes, for a file; the download of a folder shows its own progress.
        table: the known weights.

    Returns:
        The path of the file or folder.

    Raises:
        UnknownNameError: no such weights.
        DataError: the server cannot be reached or answers with an error, an address is not https, or a hash differs
            from the known one.
    """
    weights = known_weights(name, table)
    target = weights.path
    part = target.with_name(f"{target.name}.part")
    beside = target.with_name(f"{target.name}.sha256")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            if not weights.here:
                part = _downloaded(weights, part, progress)
            place = target if weights.here else part
            known = {target.name: weights.sha256} if weights.sha256 else _read_sums(beside)
            found = _sums(place, target.name)
            wrong = next((file for file, known_sum in known.items() if found.get(file) != known_sum), None)
            if wrong is not None:
                _refuse(weights, place, f"{wrong} has the sha256 {found.get(wrong)}, expected {known[wrong]}")
            if place == part:
                part.replace(target)
            beside.write_text("".join(f"{sum_}  {file}\n" for file, sum_ in found.items()), encoding="utf-8")
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error}") from error
    return target


def _sums(place: Path, name: str) -> dict[str, str]:
    """The sha256 of a file, under its final name, or of each weights file in a folder."""
    if place.is_file():
        return {name: file_sha256(place)}
    return {f"{name}/{file.name}": file_sha256(file) for file in sorted(place.glob("*.safetensors"))}


def _read_sums(path: Path) -> dict[str, str]:
    """File -> sha256, from an earlier fetch."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {file: known for known, _, file in (line.partition("  ") for line in lines)}


def _refuse(weights: Weights, place: Path, problem: str) -> NoReturn:
    """Raise an error. Weights that were here before are left for the user to remove; new ones are not kept."""
    if place == weights.path:
        raise DataError(f"{place}: {problem}; remove it and fetch it again")
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()
    raise DataError(f"{weights.url or weights.page}: {problem}; it is not kept. See {weights.page}")


def _downloaded(weights: Weights, part: Path, progress: Progress | None) -> Path:
    """Download a file or folder; return the path of what is to be put in place."""
    if weights.url is None:
        _download_folder(weights, part)
        return part
    _download(weights.url, part, progress)
    return _unpack(part) if urlsplit(weights.url).path.endswith(".zip") else part


def _download_folder(weights: Weights, part: Path) -> None:
    """Download a repository of the Hub, without file formats that may run code. Complete files are kept."""
    from huggingface_hub import HfApi, snapshot_download

    page = urlsplit(weights.page)
    repository, hub = page.path.strip("/"), f"{page.scheme}://{page.netloc}"
    go_on = "complete files are kept: run the same command to continue"
    try:
        published = HfApi(hub).model_info(repository)
        snapshot_download(
            repository, revision=published.sha, local_dir=part, endpoint=hub, allow_patterns=list(_OF_FOLDERS)
        )
    except Exception as error:  # huggingface_hub and its network libraries each raise their own errors
        raise DataError(
            f"{weights.page} cannot be fetched: {type(error).__name__}: {str(error)[:300]}; {go_on}. Gated weights "
            "need `hf auth login` first"
        ) from error
    files = [file.rfilename for file in published.siblings or ()]
    wanted = [file for file in files if any(fnmatch(file, pattern) for pattern in _OF_FOLDERS)]
    lacking = [file for file in wanted if not (part / file).is_file()]
    if lacking:  # without a connection, huggingface_hub treats an incomplete folder as complete
        raise DataError(f"{weights.page}: {lacking[0]} was not downloaded; {go_on}")


def known_weights(name: str, table: Mapping[str, Weights] = WEIGHTS) -> Weights:
    """The weights of this name.

    Raises:
        UnknownNameError: no such weights.
    """
    if name not in table:
        raise UnknownNameError("weights", name, table)
    return table[name]


def _download(url: str, part: Path, progress: Progress | None) -> None:
    """Download to `part` and continue after its last byte; pooch and huggingface_hub start a file again."""
    import requests

    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with _session() as session, session.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                if answer.headers.get("Content-Range") == f"bytes */{have}":  # it is complete
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
            f"{url} cannot be fetched: {error}. The downloaded part is kept: run the same command to continue"
        ) from error
    if total not in (None, have):
        raise DataError(f"{url} ended after {have} of {total} bytes; run the same command to continue")


def _session() -> requests.Session:
    """A session that only connects to https addresses and to this machine, also after a redirect."""
    import requests

    class HttpsSession(requests.Session):
        def get_adapter(self, url: str) -> Any:
            parts = urlsplit(url)
            if parts.scheme != "https" and parts.hostname not in _LOCAL:
                raise DataError(f"{parts.scheme}://{parts.hostname} is not allowed: only https addresses are")
            return super().get_adapter(url)

    return HttpsSession()


def _unpack(archive: Path) -> Path:
    """Unpack the only checkpoint of an archive beside it, and remove the archive."""
    unpacked = archive.with_suffix(".unpacked")
    try:
        with zipfile.ZipFile(archive) as content:
            files = [m for m in content.infolist() if not m.is_dir() and not is_hidden(Path(m.filename))]
            members = [m for m in files if Path(m.filename).suffix in _CHECKPOINTS]
            if len(members) != 1:
                kinds = ", ".join(f"*{suffix}" for suffix in _CHECKPOINTS)
                raise DataError(f"{archive} holds {len(members)} checkpoints ({kinds}), expected one")
            with content.open(members[0]) as source, unpacked.open("wb") as target:
                shutil.copyfileobj(source, target, _CHUNK)
    except zipfile.BadZipFile as error:
        archive.unlink()
        raise DataError(
            f"{archive} is not a whole archive ({error}); it is removed: run the same command again"
        ) from error
    archive.unlink()
    return unpacked
