"""Makes a fake DIOR in the official layout: five 8x8 images, three of them in val, with SAMRS masks."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from PIL import Image

from earthinstruct.regions import encode_mask

# image -> objects: name as in the XML files, corners
OBJECTS = {
    "00001": [("ship", (0, 0, 3, 3))],
    "00011": [("Expressway-Service-area", (1, 1, 5, 4)), ("ship", (5, 5, 8, 8))],
    "00012": [("groundtrackfield", (0, 2, 8, 6))],
    "00013": [],
    "11726": [("windmill", (2, 2, 4, 7))],
}
SPLITS = {"train": ["00001"], "val": ["00011", "00012", "00013"], "test": ["11726"]}


def make_dior(root: Path, *, suffix: str = "", lists: str = "ImageSets/Main") -> Path:
    """Write the images (folders with `suffix`), the XML files and the split lists; returns `root`."""
    annotations = root / "Annotations" / "Horizontal Bounding Boxes"
    annotations.mkdir(parents=True)
    for stem, objects in OBJECTS.items():
        folder = root / f"JPEGImages-{'test' if stem > '11725' else 'trainval'}{suffix}"
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (40, 80, 120)).save(folder / f"{stem}.jpg")
        (annotations / f"{stem}.xml").write_text(xml(stem, objects))
    (root / lists).mkdir(parents=True)
    for split, stems in SPLITS.items():
        (root / lists / f"{split}.txt").write_text("".join(f"{stem} \n" for stem in stems))
    return root


def xml(stem: str, objects: list[tuple[str, tuple[int, int, int, int]]], size: int = 8) -> str:
    """One annotation file."""
    return "\n".join(
        [
            "<annotation>",
            f"<filename>{stem}.jpg</filename>",
            f"<size><width>{size}</width><height>{size}</height><depth>3</depth></size>",
            *(
                f"<object><name>{name}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax>"
                f"<ymax>{y2}</ymax></bndbox></object>"
                for name, (x1, y1, x2, y2) in objects
            ),
            "</annotation>",
        ]
    )


def make_samrs(folder: Path, protocol: int = 4) -> Path:
    """Write one mask file an image: each mask fills its box but for the column at the right; returns `folder`."""
    folder.mkdir(parents=True)
    for stem, objects in OBJECTS.items():
        entries = []
        for name, (x1, y1, x2, y2) in objects:
            mask = np.zeros((8, 8), dtype=bool)
            mask[y1:y2, x1 : x2 - 1] = True
            rle = encode_mask(mask)
            entries.append(
                {
                    "mask": {"size": list(rle["size"]), "counts": rle["counts"]},
                    "bbox": np.array([x1, y1, x2, y2], dtype=np.float32),
                    "category": name.lower(),
                    "label": 3,
                    "size": mask.sum(),
                }
            )
        (folder / f"{stem}.pkl").write_bytes(pickle.dumps(entries, protocol=protocol))
    return folder
