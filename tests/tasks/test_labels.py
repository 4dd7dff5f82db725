import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from earthinstruct.errors import DataError, UnknownNameError
from earthinstruct.tasks import ExactMapper, ExactThenMapper, FileMapper, MappedLabel, named_mapper, normalised

CATEGORIES = ("storage tank", "tennis_court", "bus", "ferry", "greenhouse", "fuse", "gas", "prairie", "Flugpl\u00e4tze")


@pytest.mark.parametrize(
    ("label", "category"),
    [
        ("Storage Tanks", "storage tank"),
        ("storage-tank", "storage tank"),
        ("tennis  court", "tennis_court"),
        ("TENNIS_COURTS", "tennis_court"),
        ("buses", "bus"),
        ("ferries", "ferry"),
        ("Greenhouses", "greenhouse"),
        ("fuses", "fuse"),
        ("gases", "gas"),
        ("prairies", "prairie"),
        ("Flugpla\u0308tze", "Flugpl\u00e4tze"),
        ("tank", None),
        ("", None),
    ],
)
def test_exact_sees_through_case_separators_and_plural(label, category):
    assert ExactMapper().map([label], CATEGORIES) == {label: MappedLabel(category)}


@given(st.text(st.sampled_from("aeisuxch _-") | st.characters()))
@example("s")
@example("class s")
def test_no_word_is_lost(label):
    words = label.replace("_", " ").replace("-", " ").split()
    assert len(normalised(label).split(" ")) == max(1, len(words))
    assert bool(normalised(label)) == bool(words)


def test_a_category_is_itself_and_what_fits_two_is_refused(tmp_path):
    categories = ("storage tank", "storage_tank", "Ship", "ships")
    assert {label: m.category for label, m in ExactMapper().map(categories, categories).items()} == dict(
        zip(categories, categories, strict=True)
    )
    with pytest.raises(DataError, match=r"label 'ship' matches several categories, \['Ship', 'ships'\].*--label-map"):
        ExactMapper().map(["ship"], categories)
    assert FileMapper("map", {"ship": MappedLabel("Ship")}).map(["ship"], categories) == {"ship": MappedLabel("Ship")}


def test_a_file_decides_for_other_spellings_too():
    mapper = FileMapper("map", {"Storage_Vessel": MappedLabel("storage tank"), "boat": MappedLabel(None)})
    mapped = mapper.map(["storage vessels", "Boat", "Storage_Vessel", "ferries"], CATEGORIES)
    assert {label: entry.category for label, entry in mapped.items()} == {
        "storage vessels": "storage tank",
        "Boat": None,
        "Storage_Vessel": "storage tank",
        "ferries": "ferry",
    }


def test_the_singular_is_tried_last():
    mapper = FileMapper("map", {"glass": MappedLabel("dam"), "glasses": MappedLabel("bus")})
    assert {label: m.category for label, m in mapper.map(["Glasses", "Glass"], ["dam", "bus"]).items()} == {
        "Glasses": "bus",
        "Glass": "dam",
    }
    mapper = FileMapper("map", {"Ships": MappedLabel("boat")})
    assert {label: m.category for label, m in mapper.map(["Ship", "ships"], ["ship", "boat"]).items()} == {
        "Ship": "ship",
        "ships": "boat",
    }


def test_a_label_that_a_file_maps_in_two_ways_is_refused():
    mapper = FileMapper("map", {"car": MappedLabel("bus"), "Car": MappedLabel("dam"), "auto": MappedLabel("bus")})
    for label in ("CAR", "cars"):
        with pytest.raises(DataError, match=rf"map: label {label!r} matches \['car', 'Car'\], .* add the label"):
            mapper.map([label], ["bus", "dam"])
    assert mapper.map(["car", "Car"], ["bus", "dam"]) == {"car": MappedLabel("bus"), "Car": MappedLabel("dam")}
    alike = FileMapper("map", {"car": MappedLabel("bus"), "Car": MappedLabel("bus")})
    assert alike.map(["CAR"], ["bus"]) == {"CAR": MappedLabel("bus")}


def test_a_file_decides_for_the_labels_it_names(tmp_path):
    path = tmp_path / "map.json"
    path.write_text(
        json.dumps({"tank": "storage tank", "bus": None, "quay": {"category": "ferry", "similarity": 0.97}})
    )
    mapped = named_mapper(str(path)).map(["tank", "bus", "quay", "ferries", "tree"], CATEGORIES)
    assert {label: entry.category for label, entry in mapped.items()} == {
        "tank": "storage tank",
        "bus": None,
        "quay": "ferry",
        "ferries": "ferry",
        "tree": None,
    }
    assert mapped["quay"].similarity == 0.97


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "label map"),
        ("[]", "expected an object"),
        ('{"a": 3}', "label map"),
        ('{"a": "boat"}', "'boat', which is not"),
    ],
)
def test_a_malformed_file_is_named(tmp_path, content, message):
    path = tmp_path / "map.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        FileMapper.read(path).map(["a"], CATEGORIES)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        named_mapper(str(tmp_path / "none.json"))


def test_the_second_mapper_is_made_only_when_something_is_left():
    mapper = ExactThenMapper("no-such:mapper")
    assert mapper.map(["buses"], CATEGORIES)["buses"].category == "bus"
    with pytest.raises(UnknownNameError, match="label map 'no-such:mapper'"):
        mapper.map(["buses", "lorry"], CATEGORIES)
