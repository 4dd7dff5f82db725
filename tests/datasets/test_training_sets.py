"""The table of training sets: its names agree with each other, and overlaps follow from what the sets hold."""

from pathlib import Path

import pytest

from earthinstruct.datasets import (
    TRAINING_SETS,
    Overlap,
    dataset_sources,
    images_of,
    list_training_sets,
    overlaps,
    training_sets_given,
)
from earthinstruct.errors import EarthInstructError


def test_every_set_holds_sets_of_the_table_and_names_its_source():
    for name, known in TRAINING_SETS.items():
        assert name == known.name == name.lower()
        assert {*known.labels, *known.images} <= set(TRAINING_SETS) - {name, "unknown"}
        assert not set(known.labels) & set(known.images)
        assert known.source and known.title
        assert set(known.by_others) <= {*known.labels, *known.images}
        assert bool(known.by_others) == ("Awesome-RS-VL-Data" in known.source)
    assert len({known.title for known in TRAINING_SETS.values()}) == len(TRAINING_SETS)


def test_the_origin_of_every_named_dataset_is_known():
    plugged = set(dataset_sources()) - {"dior", "dior-test", "dior-mini", "nwpu", "scenes"}
    for name in set(dataset_sources()) - plugged:
        assert set(images_of(name)) <= set(TRAINING_SETS)
    assert images_of("dior") == images_of("dior-test") == images_of("dior-mini") == ("dior",)
    assert images_of("mine") is None


@pytest.mark.parametrize(
    ("trained", "images", "expected"),
    [
        (["dior"], ["dior"], [Overlap("dior", "dior", True)]),
        (["lae-1m"], ["dior"], [Overlap("lae-1m", "dior", True)]),
        # through two sets: RRSIS-D is made of DIOR-RSVG, which is made of DIOR
        (["rrsis-d"], ["dior"], [Overlap("rrsis-d", "dior", True, by_others=True)]),
        (["git-10m"], ["dior"], [Overlap("git-10m", "dior", False, by_others=True)]),
        # the same, from the other side; a set that is compared with itself needs no list
        (["dior"], ["rrsis-d"], [Overlap("dior", "dior", True, by_others=True)]),
        (["rrsis-d"], ["rrsis-d"], [Overlap("rrsis-d", "rrsis-d", True)]),
        # both hold it: NWPU VHR-10 has images of Vaihingen, but none of its labels
        (["remoteclip-seg-4"], ["nwpu-vhr-10"], [Overlap("remoteclip-seg-4", "vaihingen", False)]),
        (["isaid"], ["dota"], [Overlap("isaid", "dota", True)]),
        (["dota"], ["isaid"], [Overlap("dota", "dota", True)]),
        (["coco", "sa-1b", "nwpu-resisc45"], ["nwpu-vhr-10"], []),
        # a list by others names one of its sets alone
        (["geochat-instruct"], ["floodnet"], [Overlap("geochat-instruct", "floodnet", True, by_others=True)]),
        (["geochat-instruct"], ["dior"], [Overlap("geochat-instruct", "dior", True)]),
        (["refgeo"], ["floodnet"], [Overlap("refgeo", "floodnet", True, by_others=True)]),
        # those with labels first, each once
        (
            ["git-10m", "vrsbench", "vrsbench"],
            ["dior"],
            [Overlap("vrsbench", "dior", True), Overlap("git-10m", "dior", False, by_others=True)],
        ),
        # and of these those whose authors say so
        (
            ["mmrs-1m", "lae-1m"],
            ["nwpu-vhr-10"],
            [Overlap("lae-1m", "nwpu-vhr-10", True), Overlap("mmrs-1m", "nwpu-vhr-10", True, by_others=True)],
        ),
        # a name outside the table is compared as it is
        (["mine"], ["mine"], [Overlap("mine", "mine", True)]),
        (["mine"], ["dior"], []),
    ],
)
def test_overlaps(trained, images, expected):
    assert overlaps(trained, images) == expected


def test_the_stronger_of_two_ways_counts():
    # RSVP holds NWPU VHR-10 with labels, and Vaihingen, of which NWPU VHR-10 has images alone
    assert overlaps(["rsvp"], ["nwpu-vhr-10"]) == [Overlap("rsvp", "nwpu-vhr-10", True, by_others=True)]


@pytest.mark.parametrize("given", [5, True, [5], ["dior", None]])
def test_names_of_training_sets_are_texts(given):
    with pytest.raises(EarthInstructError, match=r"training_data must be names of training sets, such as dior, coco"):
        training_sets_given(given)


def test_the_list_says_what_each_holds():
    rows = {row["name"]: row for row in list_training_sets()}
    assert rows["lae-1m"]["holds"] == (
        "dior, dota, fair1m, hrsc2016, nwpu-vhr-10, rsod, xview, nwpu-resisc45 (images alone)"
    )
    assert rows["rsvp"]["source"] == "arXiv 2407.13596; content: github.com/VisionXLab/Awesome-RS-VL-Data, issue 12"
    assert rows["nwpu-vhr-10"]["holds"] == "vaihingen (images alone)"
    assert rows["webli"]["holds"] == "more that cannot be checked (from the web, or not public)"
    assert rows["dior"] == {"name": "dior", "title": "DIOR", "holds": "", "source": "arXiv 1909.00133"}


def test_the_page_shows_which_sets_hold_images_of_the_suite():
    page = (Path(__file__).parents[2] / "docs" / "training-data.md").read_text(encoding="utf-8")
    rows = {line.split(" | ")[0]: line for line in page.splitlines() if line.startswith("| `")}
    for names, dataset in (
        ("| `dior`, `dior-test`, `dior-mini`", "dior"),
        ("| `nwpu`", "nwpu"),
        ("| `scenes`", "scenes"),
    ):
        held = {name: overlaps([name], images_of(dataset)) for name in sorted(TRAINING_SETS)}
        columns = [
            ", ".join(
                f"{name}{'*' * overlap.by_others}"
                for name, found in held.items()
                for overlap in found
                if overlap.labels == labels
            )
            or "-"
            for labels in (True, False)
        ]
        assert rows[names] == f"{names} | {' | '.join(columns)} |"
