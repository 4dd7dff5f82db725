"""Variants of a task: the suite of wordings, distractors, and what a user may ask for."""

import hashlib
import json
import pickle
import re

import pytest

from earthinstruct.errors import EarthInstructError
from earthinstruct.tasks import DIOR, NWPU, ExactMapper, MappedLabel, NamesMapper, Vocabulary, tasks_of, with_variant
from earthinstruct.tasks.distractors import DISTRACTORS, distractors_for
from earthinstruct.tasks.variants import Chosen
from earthinstruct.tasks.wordings import SUITE, SYNONYMS, VERSION, worded

LANGUAGES = ("german", "french", "spanish", "portuguese", "chinese")
TEXTS = ("terse", "polite", "expert", "question", "facts-first", *LANGUAGES)
NAMES = ("synonyms", "upper-case", "reversed", "plural", "hyphens", "sorted")
# of every text of the suite on DIOR and NWPU; another text needs another version
SUITE_HASH = {"1": "8f9e7886ed17383ebee42199d4e28deedaea91170f90fdbf3cb63b5e07f82ab5"}


def tasks(vocabulary, setting="all"):
    return tasks_of("set", vocabulary, setting)


def wordings_of(task):
    return [each.variant for each in Chosen("all").of_task(task, deterministic=False)]


def test_the_suite_has_five_paraphrases_five_languages_and_six_forms_of_names():
    assert sorted(SUITE) == sorted((*TEXTS, *NAMES))
    of_nwpu = {each.of_kind for each in wordings_of(tasks(NWPU, "open_vocabulary")[0])}
    assert of_nwpu == set(SUITE)
    assert {each.of_kind for each in wordings_of(tasks(NWPU, "open_ended")[0])} == set(TEXTS)  # it has no names


def test_a_text_of_the_suite_changes_with_its_version_alone():
    texts = [each.instruction.text for of in (DIOR, NWPU) for task in tasks(of) for each in wordings_of(task)]
    assert hashlib.sha256(json.dumps(texts).encode()).hexdigest() == SUITE_HASH[VERSION]


@pytest.mark.parametrize("vocabulary", [DIOR, NWPU], ids=["dior", "nwpu"])
def test_every_wording_states_the_facts_of_the_plain_text(vocabulary):
    for task in tasks(vocabulary):
        plain = task.instruction.text
        for each in wordings_of(task):
            instruction = each.instruction
            assert instruction.setting == task.setting
            for number in re.findall(r"\d[\d.]* m", plain):  # the ground resolution
                assert number in instruction.text, each.name
            assert instruction.text.count("\n") == plain.count("\n"), each.name  # no rule is lost or added
            assert "JSON" in instruction.text
            if task.setting == "open_vocabulary":
                assert ", ".join(instruction.categories) in instruction.text
                assert " 0" in instruction.text
                assert sorted(each.names.values()) == sorted(task.categories)
                assert tuple(each.names) == instruction.categories
            else:
                assert (instruction.parent is None) == (task.parent is None)
                assert task.parent is None or instruction.parent in instruction.text


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_rule_is_translated_and_names_its_categories(language):
    rules = SUITE[language][0].rules
    for vocabulary in (DIOR, NWPU):
        for rule in vocabulary.rules:
            assert rules[rule] != rule
            named = {name for name in vocabulary.categories if re.search(rf"\b{name}s?\b", rule, re.IGNORECASE)}
            assert named  # each rule is about a category
            if language != "chinese" or "pier" not in rule:
                longest = {name for name in named if not any(name != of and name in of for of in named)}
                assert all(f"({name}" in rules[rule] for name in longest), rule


def test_names_take_other_forms_and_map_back():
    names = {wording: worded(NWPU, wording)[1] for wording in NAMES}
    assert names["synonyms"]["car"] == "vehicle"
    assert names["plural"]["storage_tanks"] == "storage_tank"
    assert names["hyphens"]["storage-tank"] == "storage_tank"
    assert names["upper-case"]["AIRPLANE"] == "airplane"
    assert list(names["reversed"]) == list(NWPU.categories)[::-1]
    assert worded(Vocabulary(("bus", "ferry", "quay", "tree")), "plural")[0].categories == (
        *("buses", "ferries", "quays", "trees"),
    )
    assert worded(Vocabulary(("aircraft", "cars")), "plural")[0].categories == ("aircraft", "cars")


def test_a_synonym_that_is_a_category_itself_is_not_used():
    vocabulary = Vocabulary(("car", "vehicle", "ship"))
    assert worded(vocabulary, "synonyms")[1] == {"automobile": "car", "vehicle": "vehicle", "vessel": "ship"}


def test_rules_call_categories_by_the_names_of_the_wording():
    rules = worded(DIOR, "synonyms")[0].rules
    assert "A flyover leads over a road, a river crossing leads over a river." in rules
    assert "Motorway rest areas on both sides of a road are two." in rules
    assert "Count an airfield only when the whole of it is visible." in rules


def test_labels_in_the_names_of_a_wording_map_to_categories():
    names = worded(NWPU, "synonyms")[1]
    mapped = NamesMapper(names, ExactMapper()).map(["car", "vessel", "Vehicles", "tree"], NWPU.categories)
    assert mapped == {
        "car": MappedLabel("vehicle"),
        "vessel": MappedLabel("ship"),
        "Vehicles": MappedLabel("vehicle"),
        "tree": MappedLabel(None),
    }


def test_there_are_200_distractors_and_none_means_a_category():
    assert len(DISTRACTORS) == len(set(DISTRACTORS)) == 200
    for vocabulary in (DIOR, NWPU):
        assert distractors_for(vocabulary, 200) == DISTRACTORS
    assert not {*SYNONYMS, *SYNONYMS.values()} - {"building", "swimming pool", "roundabout"} & set(DISTRACTORS)
    own = distractors_for(Vocabulary(("swimming_pool", "Churches", "solar panel")), 200)
    assert {"swimming pool", "church", "solar panel"}.isdisjoint(own)
    assert len(own) < 200


def test_distractors_are_asked_for_after_the_categories_and_map_to_nothing():
    task = with_variant(tasks(NWPU, "open_vocabulary")[0], "distractors-5")
    assert task.instruction.categories == (*NWPU.categories, *DISTRACTORS[:5])
    assert all(task.variant.names[name] is None for name in DISTRACTORS[:5])
    assert task.categories == NWPU.categories  # the scored ones


def test_a_variant_has_a_name_of_its_own_and_the_task_of_its_base():
    task = tasks(NWPU, "open_subclass")[0]
    varied = with_variant(task, "wordings-plural")
    assert varied.name == "set/open_subclass/sports_field@wordings-plural"
    assert varied.whole == task
    assert varied.instruction.parent == "sports fields"
    assert with_variant(varied, None) == task
    assert pickle.loads(pickle.dumps(varied)) == varied  # workers get it


def test_what_is_asked_for_becomes_variants():
    task = tasks(NWPU, "open_vocabulary")[0]
    chosen = Chosen.of(2, "grey, other", 4, "5,20")
    names = [each.variant.name for each in chosen.of_task(task, deterministic=False)]
    assert names == [
        *("wordings-terse", "wordings-synonyms", "blind-grey", "blind-other"),
        *("repeats-2", "repeats-3", "repeats-4", "distractors-5", "distractors-20"),
    ]
    checked = [each.variant.name for each in Chosen.of(repeats=4).of_task(task, deterministic=True)]
    assert checked == ["repeats-2"]  # once, to check that it is deterministic
    assert Chosen.of() == Chosen.of(repeats=1, wordings=0)
    assert not Chosen.of().of_task(task, deterministic=False)
    assert Chosen.of(distractors=5) == Chosen.of(distractors=[5]) == Chosen.of(distractors="5")
    open_ended = tasks(NWPU, "open_ended")[0]
    assert not Chosen.of(distractors=5).of_task(open_ended, deterministic=False)  # it asks for no names


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"wordings": "some"}, "wordings must be all, or a whole number, got 'some'"),
        ({"wordings": -1}, "wordings must be all, or from 0 to 16, got -1"),
        ({"blind": "black"}, "unknown blind 'black'"),
        ({"blind": "grey,grey"}, "blind names something twice: grey, grey"),
        ({"repeats": 0}, "repeats must be at least 1, got 0"),
        ({"distractors": "5,many"}, "distractors must be whole numbers, such as 5,20,100, got 'many'"),
        ({"distractors": 201}, "distractors must be from 1 to 200, got 201"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_in_words(given, message):
    with pytest.raises(EarthInstructError, match=re.escape(message)):
        Chosen.of(**given)


def test_an_own_text_has_no_wordings_and_no_distractors():
    task = tasks_of("set", NWPU, "open_vocabulary", text="Count ships.")[0]
    for chosen in (Chosen("all"), Chosen(distractors=(5,))):
        with pytest.raises(EarthInstructError, match="leave out the instruction file"):
            chosen.of_task(task, deterministic=False)
    assert len(Chosen(blind=("grey",), repeats=2).of_task(task, deterministic=False)) == 2


def test_an_unknown_variant_is_refused_with_the_known_ones():
    task = tasks(NWPU, "open_ended")[0]
    for name in ("wordings-plural", "blind-black", "repeats-1", "distractors-5", "repeats-x", "else"):
        with pytest.raises(EarthInstructError, match="wordings-german"):
            with_variant(task, name)
