"""Weights of models: where they are published, where they are on this machine, and how to download them.

Only `fetch` downloads. An unknown hash is None: the first fetch writes the hash beside the file, and later fetches are
compared with it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import logging
import os
import re
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from filelock import FileLock, Timeout
from platformdirs import user_data_path

from earthinstruct.contract import UNKNOWN_DATA
from earthinstruct.download import Progress, download
from earthinstruct.errors import DataError, UnknownNameError
from earthinstruct.files import DAMAGED_ZIP, is_hidden, read_text, replace_file

_LOG = logging.getLogger(__name__)

FOLDER_VARIABLE = "EARTHINSTRUCT_WEIGHTS"
_SAM2_SIZES = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}  # suffix of files -> in names of models
# the authors publish no hashes: these are the ones that several public projects pin, micro-sam among them
_OF_SAM2 = {
    ("sam2", "tiny"): "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125",
    ("sam2", "small"): "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3",
    ("sam2", "base_plus"): "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071",
    ("sam2", "large"): "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b",
    ("sam2.1", "tiny"): "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
    ("sam2.1", "small"): "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
    ("sam2.1", "base_plus"): "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
    ("sam2.1", "large"): "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
}
# the files of a folder, the first of which must be there: weights and what the processor needs, or a tokenizer alone
_OF_FOLDERS = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.model")
_OF_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "config.json", "*.model")
_CHECKPOINTS = (".pt", ".pth", ".bin", ".safetensors")  # in an archive
_CHUNK = 1 << 20  # bytes
_HUB = "huggingface.co"
_RESOLVE = "/resolve/"  # in the address of a file on the Hub, before its revision
_NO_VERSION = "cc, no version given"
_APACHE_REPOSITORY = "Apache-2.0, of the repository"
_LITETEXT = "Apache-2.0, and the SAM License of SAM 3's part"
_GATED = "Gated weights need `hf auth login` first, and that you accept their licence on the page"
_SUM = re.compile(r"([0-9a-f]{64}) [ *](.+)")  # a line of sha256sum
_LARGE = 1 << 24  # bytes; a smaller file is hashed in a few milliseconds


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
    files: tuple[str, ...] = _OF_FOLDERS  # of a folder: patterns of the names that are fetched
    # names of `earthinstruct.datasets.TRAINING_SETS`, with those of the weights that its training started from
    training_data: tuple[str, ...] = (UNKNOWN_DATA,)

    @property
    def path(self) -> Path:
        """Its path on this machine, whether it exists or not."""
        return weights_folder() / self.file

    @property
    def here(self) -> bool:
        """Whether it is on this machine."""
        return self.path.exists()

    def training_data_of(self, place: str | Path | None) -> tuple[str, ...]:
        """What the weights at a place were trained on: unknown where they are others than these; None: these."""
        is_ours = place is None or Path(place).resolve() == self.path.resolve()
        return self.training_data if is_ours else (UNKNOWN_DATA,)

    @property
    def how_to_get(self) -> str:
        """What to do if it is missing, in one sentence."""
        source = Path(urlsplit(self.url or f"/the folder {self.file}").path)
        what = "its checkpoint" if source.suffix == ".zip" else "it"
        if self.files != _OF_FOLDERS:
            source, what = Path(f"the files {', '.join(self.files)}"), "them"
        command = f"earthinstruct weights fetch {self.name}"
        return f"{command}, or get {source.name} from {self.page} and put {what} at {self.path}"


def _hub(name: str, repository: str, file: str, licence: str | None = None, *training_data: str) -> Weights:
    """One file on the Hub; without `training_data`, what it was trained on is unknown."""
    page = f"https://huggingface.co/{repository}"
    url, known = f"{page}/resolve/main/{file}", training_data or (UNKNOWN_DATA,)
    return Weights(name, f"{name}{Path(file).suffix}", page, url, licence, training_data=known)


def _timm(name: str, repository: str, licence: str | None, *training_data: str) -> Weights:
    """A model in open_clip's names, as timm publishes it."""
    return _hub(name, f"timm/{repository}", "open_clip_model.safetensors", licence, *training_data)


def _tokenizer(name: str, repository: str, licence: str) -> Weights:
    """A tokenizer, which has seen no image."""
    page = f"https://huggingface.co/{repository}"
    return Weights(name, name, page, licence=licence, files=_OF_TOKENIZERS, training_data=())


def _skyclip(name: str, archive: str, started_from: str) -> Weights:
    return Weights(
        name,
        f"{name}.pt",
        "https://github.com/wangzhecheng/SkyScript",
        f"https://opendatasharing.s3.us-west-2.amazonaws.com/SkyScript/ckpt/{archive}.zip",
        "MIT, of the repository",
        training_data=("skyscript", started_from),
    )


def _sam2(release: str, size: str, sha256: str) -> Weights:
    date = {"sam2": "072824", "sam2.1": "092824"}[release]
    file = f"{release}_hiera_{size}.pt"
    return Weights(
        f"{release}_hiera_{_SAM2_SIZES[size]}",
        file,
        "https://github.com/facebookresearch/sam2",
        f"https://dl.fbaipublicfiles.com/segment_anything_2/{date}/{file}",
        "Apache-2.0",
        sha256,
        # the last is of its backbone, a Hiera pre-trained on images: github.com/facebookresearch/hiera
        training_data=("sa-1b", "sa-v", "sam2-internal", "imagenet"),
    )


def _folder(name: str, repository: str, licence: str | None, *training_data: str) -> Weights:
    """The folder of a model; without `training_data`, what it was trained on is unknown."""
    page = f"https://huggingface.co/{repository}"
    known = training_data or (UNKNOWN_DATA,)
    return Weights(name, repository.partition("/")[2], page, licence=licence, training_data=known)


# the training data of the authors' papers and pages, whose addresses are in `earthinstruct.datasets.TRAINING_SETS`;
# where none of them names the weights that the training started from, these are unknown
_REMOTECLIP = ("remoteclip-ret-3", "remoteclip-seg-4", "remoteclip-det-10", UNKNOWN_DATA)
# the last is of its backbone, by the model's config
_GROUNDING_DINO_BASE = ("coco", "objects365", "goldg", "cap4m", "openimages", "odinw-35", "refcoco", "imagenet")


WEIGHTS: Mapping[str, Weights] = {
    weights.name: weights
    for weights in (
        _hub("georsclip-h14", "Zilun/GeoRSCLIP", "ckpt/RS5M_ViT-H-14.pt", _NO_VERSION, "rs5m", "laion-2b"),
        _hub("georsclip-l14", "Zilun/GeoRSCLIP", "ckpt/RS5M_ViT-L-14.pt", _NO_VERSION, "rs5m", UNKNOWN_DATA),
        _hub("georsclip-b32", "Zilun/GeoRSCLIP", "ckpt/RS5M_ViT-B-32.pt", _NO_VERSION, "rs5m", "wit-400m"),
        _hub("remoteclip-l14", "chendelong/RemoteCLIP", "RemoteCLIP-ViT-L-14.pt", _APACHE_REPOSITORY, *_REMOTECLIP),
        _hub("remoteclip-b32", "chendelong/RemoteCLIP", "RemoteCLIP-ViT-B-32.pt", _APACHE_REPOSITORY, *_REMOTECLIP),
        _skyclip("skyclip-l14", "SkyCLIP_ViT_L14_top30pct_filtered_by_CLIP_laion_RS", "wit-400m"),
        _skyclip("skyclip-b32", "SkyCLIP_ViT_B32_top50pct", "laion-2b"),
        # the sources of MGRS-200k, on which the second was trained after RS5M, are not named
        _hub("farslip1-b32", "ZhenShiL/FarSLIP", "FarSLIP1_ViT-B-32.pt", "MIT", "rs5m", UNKNOWN_DATA),
        _hub("farslip2-b32", "ZhenShiL/FarSLIP", "FarSLIP2_ViT-B-32.pt", "MIT", "rs5m", UNKNOWN_DATA),
        _timm("pe-core-b16", "PE-Core-B-16", "Apache-2.0", "pe-image-text"),
        _timm("pe-core-l14", "PE-Core-L-14-336", "Apache-2.0", "pe-image-text"),
        _timm("pe-core-g14", "PE-Core-bigG-14-448", "Apache-2.0", "pe-image-text"),
        _timm("siglip2-b16", "ViT-B-16-SigLIP2", "Apache-2.0", "webli"),
        _timm("siglip2-l16", "ViT-L-16-SigLIP2-256", "Apache-2.0", "webli"),
        _timm("siglip2-so400m", "ViT-SO400M-14-SigLIP2", "Apache-2.0", "webli"),
        _tokenizer("siglip2-tokenizer", "timm/ViT-B-16-SigLIP2", "Apache-2.0"),
        _timm("mobileclip2-s0", "MobileCLIP2-S0-OpenCLIP", "apple-amlr", "dfndr-2b"),
        _timm("mobileclip2-b", "MobileCLIP2-B-OpenCLIP", "apple-amlr", "dfndr-2b"),
        _timm("mobileclip2-s4", "MobileCLIP2-S4-OpenCLIP", "apple-amlr", "dfndr-2b"),
        _timm("mobileclip2-l14", "MobileCLIP2-L-14-OpenCLIP", "apple-amlr", "dfndr-2b"),
        _timm("metaclip2-h14", "vit_huge_patch14_clip_224.metaclip2_worldwide", "CC-BY-NC-4.0", "metaclip-2"),
        _tokenizer("xlm-v-tokenizer", "facebook/xlm-v-base", "MIT"),
        _hub(
            "dfn2b-l14",
            "apple/DFN2B-CLIP-ViT-L-14-39B",
            "open_clip_pytorch_model.bin",
            "apple-sample-code-license",
            "dfn-2b",
        ),
        *(_sam2(release, size, sha256) for (release, size), sha256 in _OF_SAM2.items()),
        _folder("qwen2.5-vl-7b", "Qwen/Qwen2.5-VL-7B-Instruct", "Apache-2.0"),
        _folder("qwen3-vl-8b", "Qwen/Qwen3-VL-8B-Instruct", "Apache-2.0"),
        # its vision encoder started from SigLIP 2
        _folder("molmo2-8b", "allenai/Molmo2-8B", "Apache-2.0", "molmo2", "webli"),
        _folder("grounding-dino-base", "IDEA-Research/grounding-dino-base", "Apache-2.0", *_GROUNDING_DINO_BASE),
        _folder(
            "mm-grounding-dino-tiny",
            "openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg_v3det",
            None,
            *("objects365", "goldg", "v3det", "imagenet"),
        ),
        _folder(
            "llmdet-large",
            "iSEE-Laboratory/llmdet_large",
            "Apache-2.0",
            *("objects365", "openimages", "goldg", "groundingcap-1m", "imagenet"),
        ),
        _folder(
            "omdet-turbo-tiny",
            "omlab/omdet-turbo-swin-tiny-hf",
            "Apache-2.0",
            *("objects365", "goldg", "imagenet", "wit-400m"),
        ),
        _folder("owlv2-large", "google/owlv2-large-patch14-ensemble", "Apache-2.0", "webli", "lvis", "wit-400m"),
        _folder("sam3", "facebook/sam3", "SAM License, on request", "sa-co", "pe-image-text"),
        # SAM 3's; its text encoder was distilled on more than its paper names, as its repository says
        _folder("sam3-litetext-s0", "vil-uob/sam3-litetext-s0", _LITETEXT, "sa-co", "pe-image-text", UNKNOWN_DATA),
        _folder("florence-2-large", "florence-community/Florence-2-large", "MIT", "fld-5b"),
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
    try:
        known = msgspec.json.decode(_beside(path).read_bytes(), type=_KnownHash)
        if (known.size, known.changed) == (size, changed):
            return known.sha256
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        pass  # it is not known, or damaged
    return _computed_sha256(path)


def _computed_sha256(path: Path) -> str:
    """The sha256 of a file, computed anew and kept beside a large file."""
    state = path.stat()
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if state.st_size >= _LARGE:
        with contextlib.suppress(OSError):  # a folder that cannot be written
            known = _KnownHash(state.st_size, state.st_mtime_ns, found)
            replace_file(_beside(path), msgspec.json.encode(known))
    return found


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.sha256.json")


def fetch(name: str, progress: Progress | None = None, table: Mapping[str, Weights] = WEIGHTS) -> Path:
    """Download weights into the weights folder; a broken download continues where it stopped.

    The weights are put in place only when complete, and only if their hashes are the known ones: those of the table,
    those that the Hugging Face Hub publishes, and those of an earlier fetch (`<file>.sha256`, as sha256sum writes it).
    One process downloads at a time; others wait for it.

    Args:
        name: a name of the table.
        progress: a callback `(done, total)` in bytes.
        table: the known weights.

    Returns:
        The path of the file or folder.

    Raises:
        UnknownNameError: no such weights.
        DataError: the server cannot be reached or answers with an error or with something else, an address is not
            https, a hash differs from the known one, or nothing can be written.
    """
    weights = known_weights(name, table)
    target = weights.path
    beside = target.with_name(f"{target.name}.sha256")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target):
            known = {target.name: weights.sha256} if weights.sha256 else _read_sums(beside, target.name)
            place = target if weights.here else _downloaded(weights, known, progress)
            found = _sums(place, target.name)
            _compare(weights, place, found, known)
            if place != target:
                place.replace(target)
                _beside(place).unlink(missing_ok=True)
            lines = "".join(f"{sum_}  {file}\n" for file, sum_ in found.items())
            replace_file(beside, lines.encode())
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error}") from error
    return target


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Hold the lock of a download; wait while another process holds it."""
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _LOG.warning("another process fetches %s: waiting for it", target.name)
            lock.acquire()
    except NotImplementedError as error:  # filelock raises it where the file system has no locks
        raise DataError(
            f"{target.parent} is on a file system without locks, where two downloads could mix; give another folder "
            f"with {FOLDER_VARIABLE}"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _sums(place: Path, name: str) -> dict[str, str]:
    """The sha256 of a file, under its final name, or of each file in a folder; read anew."""
    if place.is_file():
        return {name: _computed_sha256(place)}
    files = sorted(file for file in place.iterdir() if file.is_file() and not is_hidden(Path(file.name)))
    return {f"{name}/{file.name}": _computed_sha256(file) for file in files}


def _read_sums(path: Path, name: str) -> dict[str, str]:
    """File -> sha256, from an earlier fetch; nothing if there was none, or its file is empty.

    Raises:
        DataError: the file has another form, or is of other weights.
    """
    lines = read_text(path, "hashes").splitlines() if path.is_file() else []
    sums: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        match = _SUM.fullmatch(line)
        if match is None or match[2].partition("/")[0] != name:
            raise DataError(
                f"{path}, line {number}: expected a sha256, two spaces and {name}, as sha256sum writes them; remove "
                "the file to accept the weights as they are"
            )
        sums[match[2]] = match[1]
    return sums


def _compare(weights: Weights, place: Path, found: Mapping[str, str], known: Mapping[str, str]) -> None:
    """Compare hashes. Weights that are in place are left for the user to remove; new ones are not kept."""
    wrong = next((file for file, known_sum in known.items() if found.get(file) != known_sum), None)
    if wrong is None:
        return
    problem = f"{wrong} has the sha256 {found.get(wrong)}, expected {known[wrong]}"
    if place == weights.path:
        raise DataError(f"{place}: {problem}; remove it and fetch it again")
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()
    raise DataError(f"{weights.url or weights.page}: {problem}; it is not kept. See {weights.page}")


@dataclass(frozen=True)
class _File:
    """A file to download; its hash and size if they are published."""

    name: str
    url: str
    sha256: str | None = None
    size: int | None = None


def _downloaded(weights: Weights, known: Mapping[str, str], progress: Progress | None) -> Path:
    """Download a file or folder, and return its path, which may be a temporary one."""
    part = weights.path.with_name(f"{weights.path.name}.part")
    if weights.url is None:
        _download_folder(weights, part, progress)
        return part
    if urlsplit(weights.url).path.endswith(".zip"):
        archive, unpacked = (weights.path.with_name(weights.path.name + end) for end in (".zip", ".unpacked"))
        if not archive.is_file():
            download(weights.url, archive, progress=progress)
        _unpack(archive, unpacked)
        return unpacked
    (file,) = _published(weights) if weights.url.startswith(f"{weights.page}{_RESOLVE}") else (_File("", weights.url),)
    expected = known.get(weights.path.name)
    if None not in (expected, file.sha256) and expected != file.sha256:
        raise DataError(
            f"{weights.url} now has the sha256 {file.sha256}, expected {expected}; see {weights.page}, and remove "
            f"{weights.path}.sha256 to accept the new file"
        )
    headers = _credentials(weights)
    sha256 = file.sha256 or expected
    download(file.url, weights.path, sha256=sha256, size=file.size, headers=headers, progress=progress)
    return weights.path


def _download_folder(weights: Weights, part: Path, progress: Progress | None) -> None:
    """Download a repository of the Hub, without file formats that may run code. Complete files are kept."""
    files = _published(weights)
    if not any(fnmatch(file.name, weights.files[0]) for file in files):
        raise DataError(
            f"{weights.page} publishes no {weights.files[0]}; other formats may run code and are not fetched"
        )
    total = sum(file.size or 0 for file in files)
    before = 0
    for file in files:
        place = part / file.name
        if file.sha256 is None or not place.is_file() or file_sha256(place) != file.sha256:

            def of_all(done: int, _: int | None, before: int = before) -> None:
                if progress is not None:
                    progress(before + done, total)

            headers = _credentials(weights)
            download(file.url, place, sha256=file.sha256, size=file.size, headers=headers, progress=of_all)
        before += file.size or 0
    for old in part.iterdir():  # of another version of the repository, or of a broken download
        if old.is_file() and not is_hidden(Path(old.name)) and old.name not in {file.name for file in files}:
            old.unlink()


def _published(weights: Weights) -> list[_File]:
    """The files of weights on a Hub, at its newest commit, with their hashes and sizes as the Hub publishes them."""
    from huggingface_hub import HfApi

    page = urlsplit(weights.page)
    try:
        found = HfApi(f"{page.scheme}://{page.netloc}").model_info(page.path.strip("/"), files_metadata=True)
    except Exception as error:  # huggingface_hub and its network library each raise their own errors
        problem = " ".join(str(error).split())[:300]
        raise DataError(f"{weights.page} cannot be fetched: {type(error).__name__}: {problem}. {_GATED}") from error
    only = None if weights.url is None else weights.url.partition(f"{_RESOLVE}main/")[2]
    files = [
        _File(
            file.rfilename,
            f"{weights.page}{_RESOLVE}{found.sha or 'main'}/{file.rfilename}",
            None if file.lfs is None else file.lfs.sha256,
            file.size,
        )
        for file in found.siblings or ()
        if (_is_wanted(file.rfilename, weights.files) if only is None else file.rfilename == only)
    ]
    if not files:
        raise DataError(f"{weights.page} has no file {only or ' or '.join(weights.files)}; see there what is published")
    return files


def _is_wanted(name: str, patterns: Iterable[str]) -> bool:
    """Whether a file is at the top of its repository, with a name that fits one of these patterns."""
    hidden = "/" in name or "\\" in name or name.startswith(".")
    return not hidden and any(fnmatch(name, pattern) for pattern in patterns)


def _credentials(weights: Weights) -> dict[str, str]:
    """The header with the user's token, for weights on the Hugging Face Hub."""
    from huggingface_hub import get_token

    token = get_token() if urlsplit(weights.page).hostname == _HUB else None
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def known_weights(name: str, table: Mapping[str, Weights] = WEIGHTS) -> Weights:
    """The weights of this name.

    Raises:
        UnknownNameError: no such weights.
    """
    if name not in table:
        raise UnknownNameError("weights", name, table)
    return table[name]


def _unpack(archive: Path, target: Path) -> None:
    """Unpack the only checkpoint of an archive, and remove the archive."""
    try:
        with zipfile.ZipFile(archive) as content:
            files = [m for m in content.infolist() if not m.is_dir() and not is_hidden(Path(m.filename))]
            members = [m for m in files if Path(m.filename).suffix in _CHECKPOINTS]
            if len(members) != 1:
                kinds = ", ".join(f"*{suffix}" for suffix in _CHECKPOINTS)
                raise DataError(f"{archive} holds {len(members)} checkpoints ({kinds}), expected one")
            with content.open(members[0]) as source, target.open("wb") as unpacked:
                shutil.copyfileobj(source, unpacked, _CHUNK)
    except (OSError, *DAMAGED_ZIP) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # those are of a wrong offset
            raise
        archive.unlink()
        raise DataError(
            f"{archive} is not a whole archive ({error}); it is removed: run the same command again"
        ) from error
    archive.unlink()
