"""Makes a fake NWPU VHR-10 in the official layout: two positive 8x8 images and a negative one."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

# as the official files are: spaces inside and after, blank lines, Windows line ends
TEXTS = {
    "001": "(1,1),(4,5),1 \r\n( 2, 3),( 7,8),10\r\n\r\n",
    "002": "(0,0),(8,8),4\n   \n",
}


def make_nwpu(root: Path) -> Path:
    """Write images and text files; returns `root`."""
    for folder, stems in (("positive image set", TEXTS), ("negative image set", ["001"])):
        (root / folder).mkdir(parents=True)
        for stem in stems:
            Image.new("RGB", (8, 8), (90, 90, 60)).save(root / folder / f"{stem}.jpg")
    (root / "ground truth").mkdir()
    for stem, text in TEXTS.items():
        (root / "ground truth" / f"{stem}.txt").write_bytes(text.encode())
    return root


def reannotation() -> dict:
    """The COCO re-annotation of the same images, with ids from 0 and two names of its own."""
    names = ["airplane", "ship", "storage_tank", "baseball_diamond", "tennis_court", "basketball_court"]
    names += ["ground_track_field", "harbor", "bridge", "vehicle"]
    return {
        "images": [{"id": i, "file_name": f"00{i + 1}.jpg", "width": 8, "height": 8} for i in range(2)],
        "categories": [{"id": i, "name": name, "supercategory": None} for i, name in enumerate(names, start=1)],
        "annotations": [
            {
                "id": i,
                "image_id": i,
                "category_id": category,
                "bbox": [1, 1, 4, 4],
                "segmentation": [[1, 1, 4, 1, 4, 5, 1, 5]],
                "iscrowd": 0,
            }
            for i, category in enumerate((1, 4))
        ],
    }
