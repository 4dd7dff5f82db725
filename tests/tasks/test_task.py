import pytest

from earthinstruct import load_task
from earthinstruct.errors import EarthInstructError, UnknownNameError
from earthinstruct.tasks import DIOR, NWPU, Vocabulary, tasks_of


def test_a_dataset_with_two_parents_has_four_tasks():
    assert [task.name for task in tasks_of("dior", DIOR)] == [
        "dior/open_vocabulary",
        "dior/open_ended",
        "dior/open_subclass/sports_field",
        "dior/open_subclass/means_of_transport",
    ]


@pytest.mark.parametrize(("vocabulary", "n", "novel"), [(DIOR, 20, 4), (NWPU, 10, 3)])
def test_splits_divide_the_categories(vocabulary, n, novel):
    groups = vocabulary.groups
    assert len(groups["all"]) == len(set(groups["all"])) == n
    assert len(groups["novel"]) == novel
    assert sorted(groups["base"] + groups["novel"]) == sorted(groups["all"])
    for members in vocabulary.parents.values():
        assert set(members) <= set(vocabulary.categories)


def test_open_subclass_scores_the_members_of_the_parent():
    task = load_task("nwpu/open_subclass/sports_field")
    assert task.categories == ("baseball_field", "tennis_court", "basketball_court", "track_field")
    assert task.groups == {
        "all": task.categories,
        "base": ("baseball_field", "tennis_court", "track_field"),
        "novel": ("basketball_court",),
    }
    assert task.instruction.parent == "sports field"
    assert task.instruction.categories == ()


def test_instructions_carry_what_the_task_needs():
    open_vocabulary, open_ended, sports, _ = (task.instruction for task in tasks_of("dior", DIOR))
    for category in DIOR.categories:
        assert category in open_vocabulary.text
    for rule in DIOR.rules:
        assert rule in open_vocabulary.text
    assert "0.3 m to 30 m" in open_ended.text
    assert "airplane" not in open_ended.text
    assert "sports field" in sports.text
    assert "tennis" not in sports.text
    assert len({task.instruction_sha256 for task in tasks_of("dior", DIOR)}) == 4


def test_another_text_replaces_ours_and_changes_the_hash():
    ours, theirs = tasks_of("dior", DIOR, "open_ended")[0], tasks_of("dior", DIOR, "open_ended", text="Name all.")[0]
    assert theirs.instruction.text == "Name all."
    assert ours.instruction_sha256 != theirs.instruction_sha256


def test_a_parent_may_be_written_with_underscores():
    assert tasks_of("nwpu", NWPU, "open_subclass", "sports_field")[0].parent == "sports field"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("open_vocab",), UnknownNameError, "did you mean 'open_vocabulary'"),
        (("open_subclass", "sport field"), UnknownNameError, "did you mean 'sports field'"),
        (("open_ended", "sports field"), EarthInstructError, "needs setting 'open_subclass'"),
        (("all", None, "text"), EarthInstructError, "one task, not for 4"),
    ],
)
def test_wrong_names_are_answered(arguments, error, message):
    with pytest.raises(error, match=message):
        tasks_of("nwpu", NWPU, *arguments)


def test_a_dataset_without_parents_has_no_subclass_task():
    with pytest.raises(EarthInstructError, match="supercategory"):
        tasks_of("own", Vocabulary(("ship",)), "open_subclass")
    assert len(tasks_of("own", Vocabulary(("ship",)))) == 2


def test_an_unknown_task_gets_a_suggestion():
    with pytest.raises(UnknownNameError, match="did you mean 'nwpu/open_ended'"):
        load_task("nwpu/open_end")


@pytest.mark.parametrize("asked", ["sports_field", "sports field"])
def test_a_parent_whose_own_name_has_underscores_can_be_asked_for(asked):
    own = Vocabulary(("court",), parents={"sports_field": ("court",)})
    assert tasks_of("own", own, "open_subclass", asked)[0].parent == "sports_field"


def test_a_parent_named_all_does_not_replace_the_group_of_all():
    own = Vocabulary(("court", "ship"), parents={"all": ("court",)})
    assert own.groups["all"] == ("court", "ship")


@pytest.mark.parametrize(("dataset", "parent"), [("own", ".."), ("own", "../../x"), ("", "x"), ("..", "x")])
def test_a_task_whose_name_leaves_its_folder_is_refused(dataset, parent):
    with pytest.raises(EarthInstructError, match="cannot be the name of a run folder"):
        tasks_of(dataset, Vocabulary(("court",), parents={parent: ("court",)}))
