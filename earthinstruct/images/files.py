"""Find image files, and tell their formats by their first bytes, whatever their names are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from earthinstruct.errors import DataError
from earthinstruct.files import is_hidden, read_bytes
from earthinstruct.regions import MOST_PIXELS

IMAGE_SUFFIXES = (
    ".bmp", ".gif", ".img", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".jpx", ".png", ".tif", ".tiff", ".webp",
)  # fmt: skip
_OTHER_SUFFIXES = (  # of formats that are not read: found in folders all the same, so that they are refused in words
    ".avif", ".ecw", ".hdf", ".heic", ".jxl", ".nc", ".nitf", ".ntf", ".pgm", ".ppm", ".psd", ".sid", ".tga", ".vrt",
)  # fmt: skip
MOST_AT_ONCE = 1 << 29  # pixels that are decoded at once: at most some gigabytes, whatever a header claims
CUT = "cut it first, for example with gdal_translate -srcwin"
_HEAD = 32  # bytes that tell the format
_DEPTH_OF_PNG = 24  # the byte with the bits of a channel


@dataclass(frozen=True)
class Format:
    """A format of image files.

    Attributes:
        name: for messages.
        driver: the driver of GDAL. If GDAL chose it, a file could make it open other files or addresses.
        pillow: whether Pillow reads it; otherwise only GDAL (rasterio) does.
        starts: the first bytes of such a file.
    """

    name: str
    driver: str
    pillow: bool
    starts: tuple[bytes, ...]


TIFF = Format("TIFF", "GTiff", False, (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))
_DEEP_PNG = Format("PNG of 16 bits a channel", "PNG", False, ())
_PNG = Format("PNG", "PNG", True, (b"\x89PNG\r\n\x1a\n",))
_FORMATS = (
    Format("JPEG", "JPEG", True, (b"\xff\xd8\xff",)),
    _PNG,
    TIFF,
    Format("BMP", "BMP", True, (b"BM",)),
    Format("GIF", "GIF", True, (b"GIF87a", b"GIF89a")),
    Format("WebP", "WEBP", True, (b"RIFF",)),
    Format("JPEG 2000", "JP2OpenJPEG", False, (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")),
    Format("ERDAS IMAGINE", "HFA", False, (b"EHFA_HEADER_TAG",)),
)
_OTHERS = {  # first bytes of what is found in the place of images -> what it is, and the next step
    b"<VRTDataset": "it is a VRT, which points to other files; make one file of it: gdal_translate A.vrt A.tif",
    b"version https://git-lfs": "it is a pointer of Git LFS and not the file itself; fetch it: git lfs pull",
    b"<!DOCTYPE": "it is a web page; download the image again",
    b"<html": "it is a web page; download the image again",
}
_READABLE = ", ".join(one.name for one in _FORMATS)


def format_of(path: Path) -> Format:
    """The format of an image file, by its first bytes.

    Raises:
        DataError: the file is missing, cannot be read, or is no image.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError as error:
        raise DataError(f"image {path} does not exist") from error
    except IsADirectoryError as error:
        raise DataError(f"image {path} is a folder") from error
    except OSError as error:
        raise DataError(f"image {path} cannot be read: {error.strerror or error}") from error
    if not head:
        raise DataError(f"image {path} cannot be read: it is empty (0 bytes); copy or download it again")
    for one in _FORMATS:
        if head.startswith(one.starts) and (one.name != "WebP" or head[8:12] == b"WEBP"):
            return _DEEP_PNG if one is _PNG and head[_DEPTH_OF_PNG : _DEPTH_OF_PNG + 1] == b"\x10" else one
    for start, words in _OTHERS.items():
        if head.lstrip().startswith(start):
            raise DataError(f"image {path} cannot be read: {words}")
    raise DataError(
        f"image {path} cannot be read: it is not an image; expected {_READABLE}. Convert another format, for example "
        "with gdal_translate"
    )


def refuse_too_large(path: Path, width: int, height: int) -> None:
    """Refuse an image of more pixels than masks can have.

    Raises:
        DataError: it has more.
    """
    if width * height > MOST_PIXELS:
        raise DataError(f"image {path} has {width}x{height} pixels, more than {MOST_PIXELS:,}; {CUT}")


def refuse_too_large_at_once(what: str, width: int, height: int, next_step: str) -> None:
    """Refuse to decode more pixels at once than `MOST_AT_ONCE`, before any memory is taken for them.

    Args:
        what: what would be decoded, with its file.
        width: of what would be decoded, pixels, as the header of the file claims.
        height: likewise.
        next_step: what the user can do.

    Raises:
        DataError: there are more.
    """
    if width * height > MOST_AT_ONCE:
        raise DataError(
            f"{what} has {width}x{height} pixels; at most {MOST_AT_ONCE:,} are decoded at once: {next_step}"
        )


def sidecars(path: Path) -> list[Path]:
    """The files beside an image that give its place or mask, as GDAL finds them: `.aux.xml`, `.msk`, world files."""
    suffix = path.suffix
    worlds = {".wld", f"{suffix}w", f"{suffix[:2]}{suffix[-1:]}w"} if suffix else {".wld"}
    beside = [path.with_name(path.name + end) for end in (".aux.xml", ".msk")]
    beside += [path.with_suffix(world) for end in sorted(worlds) for world in (end.lower(), end.upper())]
    return [file for file in beside if file.is_file()]


def marks_nodata(sidecar: Path) -> bool:
    """Whether a file beside an image says which pixels have no data.

    Raises:
        DataError: it cannot be read.
    """
    return sidecar.suffix == ".msk" or (
        sidecar.suffix == ".xml" and b"<NoDataValue>" in read_bytes(sidecar, "the file beside an image")
    )


def images_below(folder: Path) -> list[Path]:
    """List the image files in a folder and its subfolders, sorted, without hidden ones; also those of other formats.

    Raises:
        DataError: a file name is not UTF-8, so that it cannot be written to JSON.
    """
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in (*IMAGE_SUFFIXES, *_OTHER_SUFFIXES)
        and path.is_file()
        and not is_hidden(path.relative_to(folder))
    )
    for path in found:
        if any("\ud800" <= character <= "\udfff" for character in str(path)):  # Python's escapes of undecodable bytes
            raise DataError(f"the name of image {str(path)!r} is not UTF-8; rename it")
    return found
