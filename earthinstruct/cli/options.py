"""Options that several verbs share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from earthinstruct.tasks import LabelMapper


def add_method(parser: argparse.ArgumentParser) -> None:
    """--method and -M."""
    parser.add_argument(
        "--method", required=True, metavar="NAME", help="a method by name, package.module:Class or path/file.py:Class"
    )
    parser.add_argument(
        "-M",
        dest="parameters",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a parameter of the method; may be repeated",
    )


def add_dataset(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """--dataset, --data and --parent."""
    parser.add_argument(
        "--dataset",
        required=default is None,
        default=default,
        metavar="NAME|PATH",
        help="a dataset by name, a COCO file, or a COCO, VOC or YOLO folder"
        + (f" (default: {default})" if default else ""),
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="the folder of your datasets (default: $EARTHINSTRUCT_DATA, else data)"
    )
    parser.add_argument(
        "--parent", metavar="CATEGORY", help='the parent category of open_subclass, such as "sports field"'
    )


def add_scoring(parser: argparse.ArgumentParser) -> None:
    """--protocol, --label-map, --sweep, --resamples and --json."""
    parser.add_argument("--protocol", default="standard", metavar="NAME", help="standard or paper (default: standard)")
    parser.add_argument(
        "--label-map",
        metavar="MAP",
        help="exact, clip:<encoder>, or a JSON file of label to category (default: the dataset's)",
    )
    parser.add_argument(
        "--sweep", action="store_true", help="choose the score threshold with the largest box mF1 first (an oracle)"
    )
    parser.add_argument(
        "--resamples",
        type=int,
        default=1000,
        metavar="N",
        help="bootstrap resamples for the 95 %% intervals; 0: none (default: 1000)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there as JSON")


def label_mapper(name: str | None) -> LabelMapper | None:
    """The label mapper that --label-map names, or None for the dataset's.

    Raises:
        EarthInstructError: there is none of that name, or its file is malformed.
    """
    from earthinstruct.tasks import named_mapper

    return None if name is None else named_mapper(name)
