"""Image files of every kind that people bring, each with the pixels that a method must see, or why it is refused.

The picture is 32 x 24 pixels. A writer gets the path and returns `Expected`.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image, UnidentifiedImageError
from rasterio.enums import ColorInterp

HEIGHT, WIDTH = 24, 32
_ROWS, _COLUMNS = np.mgrid[:HEIGHT, :WIDTH]
RGB = np.stack([_COLUMNS * 7 + 20, _ROWS * 9 + 10, (_COLUMNS + _ROWS) * 4 + 5], axis=-1).astype(np.uint8)
GREY = RGB[..., 0]
HOLE = np.ones((HEIGHT, WIDTH), dtype=bool)  # the valid pixels of an image with a hole
HOLE[:6, 4:12] = False
PLACE = {"transform": rasterio.Affine(2, 0, 500_000, 0, -2, 4_000_000), "crs": "EPSG:32631"}


@dataclass(frozen=True)
class Expected:
    """What a reader gives: pixels and validity (None: all), or the words of a refusal; and words of its notes.

    `alone` says what is read without rasterio: "same" pixels, or "refused" with the pip line.
    """

    pixels: np.ndarray | None = None
    valid: np.ndarray | None = None
    refused: str | None = None
    notes: tuple[str, ...] = ()
    alone: str = "refused"
    near: int = 0  # largest difference, for lossy formats


KINDS: dict[str, Callable[[Path], Expected]] = {}


def kind(name):
    def add(writer):
        assert name not in KINDS
        KINDS[name] = writer
        return writer

    return add


def shown(pixels, valid=None, **more):
    """What is expected of three channels or one: black where there is no data."""
    pixels = np.repeat(pixels[..., None], 3, axis=-1) if pixels.ndim == 2 else pixels.copy()
    if valid is not None:
        pixels[~valid] = 0
    return Expected(pixels, valid, **more)


def write(path, bands, driver="GTiff", colours=None, names=None, mask=None, internal=True, **options):
    """A raster of (bands, height, width)."""
    count, height, width = bands.shape
    profile = {"driver": driver, "count": count, "height": height, "width": width, "dtype": bands.dtype}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal), rasterio.open(path, "w", **profile, **options) as file:
        file.write(bands)
        if colours is not None:
            file.colorinterp = [ColorInterp[name] for name in colours]
        if names is not None:
            file.descriptions = names
        if mask is not None:
            file.write_mask(mask)


def stretched(values, valid=None):
    """Values (height, width, bands) to 8 bits, percentiles 2 to 98 over all bands together."""
    low, high = np.percentile(values[HOLE if valid is not None else ...], (2, 98))
    return ((values - low) * 255 / (high - low)).clip(0, 255).round().astype(np.uint8)


BANDS = RGB.transpose(2, 0, 1)
ALPHA = HOLE[None] * np.uint8(255)
DEEP = RGB.astype(np.uint16) * 12 + 300  # 12 bits of 16
STRETCHED = ("uint16 stretched to 8 bits, percentiles 2 to 98 over all bands",)


# pictures of 8 bits


@kind("plain.png")
def _(path):
    Image.fromarray(RGB).save(path)
    return shown(RGB, alone="same")


@kind("plain.bmp")
def _(path):
    Image.fromarray(RGB).save(path)
    return shown(RGB, alone="same")


@kind("plain.webp")
def _(path):
    Image.fromarray(RGB).save(path, lossless=True)
    return shown(RGB, alone="same")


@kind("plain.jpg")
def _(path):
    Image.fromarray(RGB).save(path, quality=95, subsampling=0)
    return shown(RGB, alone="same", near=6)


@kind("grey.jpg")
def _(path):
    Image.fromarray(GREY).save(path, quality=98)
    return shown(GREY, alone="same", near=4)


@kind("cmyk.jpg")
def _(path):
    Image.fromarray(RGB).convert("CMYK").save(path, quality=98, subsampling=0)
    return shown(RGB, alone="same", near=6)


@kind("grey.png")
def _(path):
    Image.fromarray(GREY).save(path)
    return shown(GREY, alone="same")


@kind("bit.png")
def _(path):
    Image.fromarray(GREY > 120).save(path)
    return shown(np.where(GREY > 120, 255, 0).astype(np.uint8), alone="same")


@kind("rgba.png")
def _(path):
    Image.fromarray(np.concatenate([RGB, ALPHA.transpose(1, 2, 0)], axis=-1)).save(path)
    return shown(RGB, HOLE, alone="same")


@kind("half transparent.webp")
def _(path):
    alpha = np.where(HOLE, 128, 0).astype(np.uint8)[..., None]
    Image.fromarray(np.concatenate([RGB, alpha], axis=-1)).save(path, lossless=True, exact=True)
    return shown(RGB, HOLE, alone="same")


@kind("la.png")
def _(path):
    Image.fromarray(np.stack([GREY, ALPHA[0]], axis=-1), "LA").save(path)
    return shown(GREY, HOLE, alone="same")


@kind("transparent colour.png")
def _(path):
    pixels = np.where(HOLE[..., None], RGB, np.uint8([250, 1, 2]))
    Image.fromarray(pixels).save(path, transparency=(250, 1, 2))
    return shown(RGB, HOLE, alone="same")


@kind("transparent grey.png")
def _(path):
    Image.fromarray(np.where(HOLE, GREY, np.uint8(3))).save(path, transparency=3)
    return shown(GREY, HOLE, alone="same")


COLOURS = np.uint8([[1, 2, 3], [200, 100, 50], [9, 90, 9], [255, 0, 0]])
INDICES = np.where(HOLE, _COLUMNS % 3, 3).astype(np.uint8)


def palette():
    picture = Image.fromarray(INDICES, "P")
    picture.putpalette(COLOURS.tobytes())
    return picture


@kind("palette.png")
def _(path):
    palette().save(path)
    return shown(COLOURS[INDICES], alone="same")


@kind("palette with a transparent colour.png")
def _(path):
    palette().save(path, transparency=3)
    return shown(COLOURS[INDICES], HOLE, alone="same")


@kind("transparent.gif")
def _(path):
    palette().save(path, transparency=3)
    return shown(COLOURS[INDICES], HOLE, alone="same")


@kind("animated.gif")
def _(path):
    palette().save(path, save_all=True, append_images=[palette().rotate(180)])
    return shown(COLOURS[INDICES], alone="same", notes=("the first of the 2 pictures",))


@kind("animated.png")
def _(path):
    picture = Image.fromarray(RGB)
    picture.save(path, save_all=True, append_images=[picture.rotate(180)])
    return shown(RGB, alone="same", notes=("the first of the 2 pictures",))


@kind("turned.jpg")
def _(path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(RGB).save(path, exif=exif, quality=95, subsampling=0)
    return shown(RGB, alone="same", near=6, notes=("orientation in its EXIF data (6) is not applied",))


@kind("JPEG called.png")
def _(path):
    Image.fromarray(RGB).save(path, "JPEG", quality=95, subsampling=0)
    return shown(RGB, alone="same", near=6)


@kind("TIFF called.jpg")
def _(path):
    write(path, BANDS)
    return shown(RGB, alone="same")


@kind("world file.png")
def _(path):
    Image.fromarray(RGB).save(path)
    path.with_suffix(".pgw").write_text("2\n0\n0\n-2\n500001\n3999999\n")
    return shown(RGB, alone="same")


@kind("mask beside it.png")
def _(path):
    write(path, BANDS, "PNG")
    with rasterio.open(path, "r+") as file:
        file.write_mask(HOLE)
    assert path.with_name(f"{path.name}.msk").exists()
    return shown(RGB, HOLE)


@kind("nodata beside it.png")
def _(path):
    Image.fromarray(np.where(HOLE[..., None], RGB, np.uint8(7))).save(path)
    bands = "".join(f'<PAMRasterBand band="{band}"><NoDataValue>7</NoDataValue></PAMRasterBand>' for band in (1, 2, 3))
    path.with_name(f"{path.name}.aux.xml").write_text(f"<PAMDataset>{bands}</PAMDataset>")
    return shown(RGB, HOLE)


# TIFF of 8 bits


@kind("plain.tif")
def _(path):
    Image.fromarray(RGB).save(path)
    return shown(RGB, alone="same")


@kind("GeoTIFF.tif")
def _(path):
    write(path, BANDS, **PLACE)
    return shown(RGB, alone="same")


for compression in ("lzw", "deflate", "packbits"):

    @kind(f"{compression}.tif")
    def _(path, compression=compression):
        write(path, BANDS, compress=compression)
        return shown(RGB, alone="same")


for compression in ("lerc", "zstd", "lzma"):

    @kind(f"{compression}.tif")
    def _(path, compression=compression):
        write(path, BANDS, compress=compression)
        return shown(RGB)


@kind("webp in.tif")
def _(path):
    write(path, BANDS, compress="webp", WEBP_LOSSLESS=True)
    return shown(RGB)


@kind("jpeg in.tif")
def _(path):
    write(path, BANDS, compress="jpeg", photometric="YCBCR", JPEG_QUALITY=98)
    return shown(RGB, near=8)


@kind("planar.tif")
def _(path):
    write(path, BANDS, interleave="band")
    return shown(RGB, alone="same")


@kind("tiled BigTIFF.tif")
def _(path):
    write(path, BANDS, BIGTIFF="YES", tiled=True, blockxsize=16, blockysize=16)
    return shown(RGB, alone="same")


@kind("rgba.tif")
def _(path):
    write(path, np.concatenate([BANDS, ALPHA]), **PLACE)
    return shown(RGB, HOLE, alone="same")


@kind("la.tif")
def _(path):
    Image.fromarray(np.stack([GREY, ALPHA[0]], axis=-1), "LA").save(path)
    return shown(GREY, HOLE)


@kind("bgr with alpha first.tif")
def _(path):
    write(
        path,
        np.concatenate([ALPHA, BANDS[::-1]]),
        colours=["alpha", "blue", "green", "red"],
        photometric="MINISBLACK",
        alpha="unspecified",
    )
    return shown(RGB, HOLE)


@kind("bgr with alpha last.tif")
def _(path):
    colours = ["blue", "green", "red", "alpha"]
    write(path, np.concatenate([BANDS[::-1], ALPHA]), colours=colours, photometric="MINISBLACK")
    return shown(RGB, HOLE)


@kind("bgrn.tif")
def _(path):
    colours = ["blue", "green", "red", "undefined"]
    write(path, np.concatenate([BANDS[::-1], BANDS[:1]]), colours=colours, photometric="MINISBLACK", **PLACE)
    return shown(RGB, notes=("bands 3, 2, 1 of 4 shown as red, green, blue",))


@kind("five bands with names.tif")
def _(path):
    names = ("B02", "B03", "B04", "B08", "B11")
    write(path, np.concatenate([BANDS, BANDS[:2]]), names=names, photometric="MINISBLACK")
    return shown(RGB, notes=("bands 1 (B02), 2 (B03), 3 (B04) of 5 shown as red, green, blue; choose others",))


@kind("two bands.tif")
def _(path):
    write(path, BANDS[:2], photometric="MINISBLACK")
    try:
        Image.open(path).close()
        alone = "same"
    except UnidentifiedImageError:  # of an older Pillow
        alone = "refused"
    return shown(GREY, alone=alone, notes=("band 1 of 2 shown as grey",))


@kind("nodata.tif")
def _(path):
    write(path, np.where(HOLE, BANDS, np.uint8(255)), nodata=255, **PLACE)
    return shown(RGB, HOLE)


@kind("nodata in one band.tif")
def _(path):
    bands = BANDS.copy()
    bands[0][~HOLE] = 255
    write(path, bands, nodata=255)  # the other bands have data there
    return shown(bands.transpose(1, 2, 0))


@kind("mask inside.tif")
def _(path):
    write(path, BANDS, mask=HOLE)
    return shown(RGB, HOLE)


@kind("mask beside.tif")
def _(path):
    write(path, BANDS, mask=HOLE, internal=False)
    assert path.with_name(f"{path.name}.msk").exists()
    return shown(RGB, HOLE)


@kind("palette.tif")
def _(path):
    palette().save(path)
    return shown(COLOURS[INDICES], alone="same")


@kind("palette with nodata.tif")
def _(path):
    write(path, INDICES[None], nodata=3, photometric="PALETTE")
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {i: (*map(int, colour), 255) for i, colour in enumerate(COLOURS)})
    return shown(COLOURS[INDICES], HOLE)


@kind("cmyk.tif")
def _(path):
    Image.fromarray(RGB).convert("CMYK").save(path)
    return shown(RGB, alone="same")


@kind("four bits.tif")
def _(path):
    write(path, GREY[None] // 16, nbits=4)
    return shown(GREY // 16 * np.uint8(17), alone="same")


@kind("bit.tif")
def _(path):
    Image.fromarray(GREY > 120).save(path)
    return shown(np.where(GREY > 120, 255, 0).astype(np.uint8), alone="same")


@kind("white is zero, 1 bit.tif")
def _(path):
    write(path, (GREY > 120)[None].astype(np.uint8), nbits=1, photometric="MINISWHITE")
    return shown(np.where(GREY > 120, 0, 255).astype(np.uint8))


@kind("white is zero, 8 bits.tif")
def _(path):
    write(path, GREY[None], photometric="MINISWHITE")
    return shown(255 - GREY)


@kind("white is zero, 16 bits.tif")
def _(path):
    write(path, DEEP[None, ..., 2], photometric="MINISWHITE")
    return shown(255 - stretched(DEEP[..., 2]), notes=STRETCHED)


@kind("turned.tif")
def _(path):
    Image.fromarray(RGB).save(path, tiffinfo={274: 6})
    return shown(RGB, notes=("orientation in its EXIF data (6) is not applied",))


@kind("several pages.tif")
def _(path):
    picture = Image.fromarray(RGB)
    picture.save(path, save_all=True, append_images=[picture.rotate(180)])
    return shown(RGB, notes=("the first of the 2 pictures",))


# more than 8 bits


@kind("16 bits.tif")
def _(path):
    write(path, DEEP.transpose(2, 0, 1), photometric="RGB")
    return shown(stretched(DEEP), notes=STRETCHED)


@kind("16 bits.png")
def _(path):
    write(path, DEEP.transpose(2, 0, 1), "PNG")
    return shown(stretched(DEEP), notes=STRETCHED)


@kind("16 bits, grey.png")
def _(path):
    Image.fromarray(DEEP[..., 2]).save(path)
    return shown(stretched(DEEP[..., 2]), notes=STRETCHED)


@kind("16 bits with nodata.tif")
def _(path):
    write(path, np.where(HOLE, DEEP.transpose(2, 0, 1), 60_000).astype(np.uint16), nodata=60_000)
    return shown(stretched(DEEP, HOLE), HOLE, notes=STRETCHED)


@kind("16 bits, a border of 0.tif")
def _(path):
    values = np.where(HOLE[..., None], DEEP, 0)
    write(path, values.transpose(2, 0, 1).astype(np.uint16))
    share = round(100 * (~HOLE).mean())
    note = f"{share} % of the pixels have the lowest value, 0: if they hold no data, give --nodata 0"
    return shown(stretched(values), notes=(*STRETCHED, note))


@kind("int16.tif")
def _(path):
    write(path, DEEP.transpose(2, 0, 1).astype(np.int16) - 2000)
    return shown(stretched(DEEP.astype(np.int16) - 2000), notes=("int16 stretched",))


@kind("floats with NaN.tif")
def _(path):
    write(path, np.where(HOLE, DEEP.transpose(2, 0, 1), np.nan).astype(np.float32))
    return shown(stretched(DEEP.astype(np.float32), HOLE), HOLE, notes=("float32 stretched",))


@kind("float64.tif")
def _(path):
    write(path, DEEP.transpose(2, 0, 1).astype(np.float64))
    return shown(stretched(DEEP.astype(np.float64)), notes=("float64 stretched",))


for dtype in ("float32", "float64"):

    @kind(f"{dtype} from 0 to 1.tif")
    def _(path, dtype=dtype):
        write(path, (BANDS / 255).astype(dtype))
        return shown(RGB, notes=(f"{dtype} from 0 to 1 shown as 0 to 255, without a stretch",))


@kind("reflectance.tif")
def _(path):
    values = (RGB / 255 * 0.3).astype(np.float32)
    write(path, values.transpose(2, 0, 1))
    return shown(stretched(values.astype(np.float64)), notes=("float32 stretched",))


@kind("complex.tif")
def _(path):
    write(path, BANDS.astype(np.complex64))
    return Expected(refused="holds values of type complex64; expected whole or real numbers")


# other formats

LOSSLESS = {"reversible": "YES", "quality": 100}


@kind("8 bits.jp2")
def _(path):
    write(path, BANDS, "JP2OpenJPEG", **LOSSLESS, **PLACE)
    return shown(RGB)


for bits in (12, 16):

    @kind(f"{bits} bits.jp2")
    def _(path, bits=bits):
        write(path, DEEP.transpose(2, 0, 1), "JP2OpenJPEG", nbits=bits, **LOSSLESS)
        return shown(stretched(DEEP), notes=STRETCHED)


@kind("erdas.img")
def _(path):
    write(path, BANDS, "HFA", **PLACE)
    return shown(RGB)


@kind("pointing.vrt")
def _(path):
    path.write_text('<VRTDataset rasterXSize="32" rasterYSize="24"></VRTDataset>')
    return Expected(refused="it is a VRT, which points to other files; make one file of it: gdal_translate")


# damaged


@kind("empty.png")
def _(path):
    path.write_bytes(b"")
    return Expected(refused="it is empty (0 bytes); copy or download it again")


@kind("text.jpg")
def _(path):
    path.write_text("not an image")
    return Expected(refused="it is not an image; expected JPEG, PNG, TIFF")


@kind("pointer.tif")
def _(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    return Expected(refused="it is a pointer of Git LFS and not the file itself; fetch it: git lfs pull")


@kind("page.jpg")
def _(path):
    path.write_text("\n<!DOCTYPE html><title>404</title>")
    return Expected(refused="it is a web page; download the image again")


def cut(path, source):
    content = source.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    for file in (source, source.with_name(f"{source.name}.aux.xml")):
        if file.exists():
            file.unlink()
    return Expected(refused="cannot be read: ")


NOISE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


for suffix in ("jpg", "png", "bmp", "webp", "gif"):

    @kind(f"truncated.{suffix}")
    def _(path, suffix=suffix):
        whole = path.with_name(f"whole of {path.name}")
        Image.fromarray(NOISE).save(whole)
        return cut(path, whole)


for suffix, driver in {"tif": "GTiff", "jp2": "JP2OpenJPEG"}.items():

    @kind(f"truncated.{suffix}")
    def _(path, driver=driver):
        whole = path.with_name(f"whole of {path.name}")
        write(whole, NOISE.transpose(2, 0, 1), driver, **(LOSSLESS if driver != "GTiff" else {"blockysize": 4}))
        return cut(path, whole)


@kind("a promise of 100,000 x 100,000 pixels.png")
def _(path):
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunks = b""
    for name, content in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")):
        chunks += struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return Expected(refused="has 100000x100000 pixels, more than 4,294,967,295; cut it first, for example with gdal_")


@kind("sparse, 70,000 x 70,000 pixels.tif")
def _(path):
    profile = {"driver": "GTiff", "count": 1, "height": 70_000, "width": 70_000, "dtype": "uint8"}
    with rasterio.open(path, "w", sparse_ok=True, tiled=True, blockxsize=4096, blockysize=4096, **profile):
        pass
    return Expected(refused="has 70000x70000 pixels, more than 4,294,967,295; cut it first")
