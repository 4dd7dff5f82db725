"""A preparation that was interrupted goes on where it stopped, and makes the file it would have made."""

import pytest

from earthinstruct.datasets import dior, nwpu
from earthinstruct.errors import DataError

from .fake_dior import make_dior, make_samrs, xml
from .fake_nwpu import make_nwpu


class Interrupt(Exception):
    pass


def after(n):
    """Progress that stops the preparation after n images."""

    def progress(done, total):
        if done == n:
            raise Interrupt

    return progress


@pytest.fixture
def parsed(monkeypatch):
    """The annotation files of DIOR that are parsed, in order."""
    seen = []
    parse = dior.parse_voc

    def count(content, path):
        seen.append(path.stem)
        return parse(content, path)

    monkeypatch.setattr(dior, "parse_voc", count)
    return seen


@pytest.fixture
def interrupted(tmp_path, parsed):
    """DIOR with masks, stopped after the second of its three images, and what the whole would have been."""
    root, masks = make_dior(tmp_path / "dior"), make_samrs(tmp_path / "ins")
    whole = dior.prepare_dior(root, masks=masks).path.read_bytes()
    (root / "earthinstruct-dior-val.json").unlink()
    with pytest.raises(Interrupt):
        dior.prepare_dior(root, masks=masks, progress=after(2))
    parsed.clear()
    return root, masks, whole


def test_what_was_read_is_not_read_again(interrupted, parsed):
    root, masks, whole = interrupted
    seen = []
    prepared = dior.prepare_dior(root, masks=masks, progress=lambda *at: seen.append(at))
    assert parsed == ["00013"]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert prepared.path.read_bytes() == whole
    assert not list(root.glob(".earthinstruct*"))


def test_a_file_that_changed_is_read_again(interrupted, parsed):
    root, masks, _ = interrupted
    file = root / "Annotations" / "Horizontal Bounding Boxes" / "00012.xml"
    file.write_text(xml("00012", [("ship", (0, 0, 2, 2)), ("ship", (4, 4, 8, 8))]))
    (masks / "00011.pkl").unlink()
    prepared = dior.prepare_dior(root, masks=masks)
    assert parsed == ["00011", "00012", "00013"]
    assert prepared.counts["ship"] == 3
    assert any("00011.xml" in note for note in prepared.notes)


def test_other_settings_start_again(interrupted, parsed):
    root, masks, _ = interrupted
    dior.prepare_dior(root, masks=masks, gt_boxes="mask")
    assert parsed == ["00011", "00012", "00013"]


@pytest.mark.parametrize("tear", [lambda line: line[:30], lambda line: b"\xff\n", lambda line: b"", bytes.rstrip])
def test_a_torn_line_is_read_again(interrupted, parsed, tear):
    root, masks, whole = interrupted
    journal = root / ".earthinstruct-dior-val.json.part"
    header, first, second = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(header + first + tear(second))
    with pytest.raises(Interrupt):
        dior.prepare_dior(root, masks=masks, progress=after(2))
    assert dior.prepare_dior(root, masks=masks).path.read_bytes() == whole
    assert parsed == ["00012", "00013"]


def test_a_malformed_file_is_mended_and_the_rest_kept(tmp_path, parsed):
    root = make_dior(tmp_path)
    file = root / "Annotations" / "Horizontal Bounding Boxes" / "00012.xml"
    good = file.read_text()
    file.write_text("<annotation>")
    with pytest.raises(DataError, match=r"00012\.xml"):
        dior.prepare_dior(root)
    parsed.clear()
    file.write_text(good)
    assert dior.prepare_dior(root).n_images == 3
    assert parsed == ["00012", "00013"]


def test_the_text_files_of_nwpu_go_on_as_well(tmp_path):
    root = make_nwpu(tmp_path)
    whole = nwpu.prepare_nwpu(root).path.read_bytes()
    (root / nwpu.FILE_NAME).unlink()
    with pytest.raises(Interrupt):
        nwpu.prepare_nwpu(root, progress=after(1))
    assert (root / f".{nwpu.FILE_NAME}.part").read_bytes().count(b"\n") == 2
    assert nwpu.prepare_nwpu(root).path.read_bytes() == whole
