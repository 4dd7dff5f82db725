import pytest
from msgspec.structs import replace

from earthinstruct import Prediction, evaluate
from earthinstruct.cli import main
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.files import as_json
from earthinstruct.metrics import Sweep, Value
from earthinstruct.metrics.values import Fold
from earthinstruct.results import (
    check,
    guard_results,
    guarded_for,
    metric_values,
    moved_values,
    new_values,
    read_result,
)
from earthinstruct.results.regression import metric_intervals


@pytest.fixture
def run(constant, dataset, tmp_path):
    """A run folder, and its result."""
    evaluation = evaluate(constant, dataset, setting="open_ended", output=tmp_path / "runs")
    return evaluation.folders[0], evaluation.results[0]


@pytest.fixture
def worse(constant, dataset, tmp_path):
    """The result file of another run of the method, which finds nothing."""
    nothing = type("Nothing", (), {"name": constant.name, "predict": lambda self, image, instruction: Prediction()})
    done = evaluate(nothing(), dataset, setting="open_ended", output=tmp_path / "worse")
    return (done.folders[0] / "result.json").read_bytes()


def with_f1(result, value):
    box = replace(result.metrics.box, f1=Value(value, ci95=(0.0, 0.5)))
    return replace(result, metrics=replace(result.metrics, box=box))


def test_a_result_has_not_moved_from_itself(run):
    result = run[1]
    assert moved_values(result, result, 0) == []
    assert dict(metric_values(result))["box.f1"] == result.metrics.box.f1.value


def test_what_moved_is_named_with_its_interval(run):
    before, after = with_f1(run[1], 0.25), with_f1(run[1], 0.26)
    assert moved_values(after, before, 0.02) == []
    (moved,) = moved_values(after, before, 0.001)
    assert str(moved) == "box.f1: 0.2500 -> 0.2600 (+0.0100), within the 95 % interval"
    (moved,) = moved_values(with_f1(run[1], 0.75), before)
    assert "outside" in str(moved)
    (moved,) = moved_values(with_f1(run[1], None), before)
    assert str(moved) == "box.f1: 0.2500 -> undefined"


def test_a_value_the_result_lacks_has_moved_and_one_that_is_not_guarded_is_new(run):
    result = run[1]
    without = replace(result, metrics=replace(result.metrics, counting_from_instances=None))
    lost = moved_values(without, result)
    assert lost
    assert all(value.name.startswith("counting_from_instances.") and value.after is None for value in lost)
    assert moved_values(result, without) == []
    assert {name.partition(".")[0] for name in new_values(result, without)} == {"counting_from_instances"}
    assert new_values(result, result) == []


def test_the_interval_of_a_group_belongs_to_its_mean(run):
    result = run[1]
    interval = result.metrics.counting.groups_ci95["transport"]["f1"]
    assert dict(metric_intervals(result))["counting.groups.transport.f1"] == interval
    assert not any("ci95" in name for name, _ in metric_values(result))
    rows = result.to_pandas().set_index(["score", "over"])
    assert tuple(rows.loc[("counting.f1", "transport"), ["low", "high"]]) == interval


def test_results_of_different_tasks_do_not_compare(run):
    other = replace(run[1], protocol="paper")
    with pytest.raises(DataError, match="protocol 'paper' against 'standard'"):
        moved_values(other, run[1])


def test_a_guarded_result_is_found_in_a_folder(run, tmp_path):
    folder = tmp_path / "guarded"
    folder.mkdir()
    with pytest.raises(DataError, match="found none"):
        guarded_for(run[1], folder)
    (folder / "a.json").write_bytes(as_json(run[1]))
    (folder / "b.json").write_bytes(as_json(replace(run[1], protocol="paper")))
    assert guarded_for(run[1], folder) == run[1]
    (folder / "c.json").write_bytes(as_json(run[1]))
    with pytest.raises(DataError, match=r"a\.json, .*c\.json"):
        guarded_for(run[1], folder)


def test_the_folder_of_earlier_runs_is_one_of_guarded_results(run, tmp_path):
    assert guarded_for(run[1], tmp_path / "runs") == run[1]
    with pytest.raises(DataError, match="found none"):
        guarded_for(replace(run[1], protocol="paper"), tmp_path / "runs")
    (tmp_path / "runs" / "paper.json").write_bytes(as_json(replace(run[1], protocol="paper")))
    assert guarded_for(replace(run[1], protocol="paper"), tmp_path / "runs").protocol == "paper"


def test_check_exits_with_1_when_a_value_moved(run, worse, tmp_path, capsys):
    guarded = tmp_path / "guarded.json"
    guarded.write_bytes(as_json(run[1]))
    assert main(["check", str(run[0]), "--against", str(guarded)]) == 0
    guarded.write_bytes(worse)
    assert main(["check", str(run[0]), "--against", str(guarded)]) == 1
    assert "moved    box.f1: 0.0000" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "none.json"), "--against", str(guarded)]) == 2


def test_a_folder_of_runs_is_held_against_a_folder_of_guarded_results(constant, dataset, worse, tmp_path, capsys):
    runs, guarded = tmp_path / "runs", tmp_path / "guarded"
    evaluate(constant, dataset, output=runs)
    assert main(["check", str(runs), "--against", str(guarded)]) == 2
    assert "found none" in capsys.readouterr().err
    assert main(["check", str(runs), "--against", str(guarded), "--update"]) == 0
    stored = [path.relative_to(guarded).as_posix() for path in sorted(guarded.rglob("*.json"))]
    assert stored == [
        "set/open_ended/constant.json",
        "set/open_subclass/transport/constant.json",
        "set/open_vocabulary/constant.json",
    ]
    assert main(["check", str(runs), "--against", str(guarded)]) == 0
    assert capsys.readouterr().out.count("ok       constant on set/") == 3

    file = guarded / stored[0]
    file.write_bytes(worse)
    assert main(["check", str(runs), "--against", str(guarded)]) == 1
    assert "FAILED   constant on set/open_ended" in capsys.readouterr().out
    assert main(["check", str(runs), "--against", str(guarded), "--update"]) == 0
    assert main(["check", str(runs), "--against", str(guarded)]) == 0
    capsys.readouterr()

    (runs / "set" / "open_ended" / "constant" / "result.json").unlink()
    assert main(["check", str(runs), "--against", str(guarded)]) == 1
    assert f"FAILED   {file} is guarded, and {runs} has no result for it" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "set" / "images"), "--against", str(guarded)]) == 2
    assert "holds no result" in capsys.readouterr().err


def test_a_task_name_does_not_leave_the_folder_of_guarded_results(run, tmp_path):
    hostile = replace(run[1], task=replace(run[1].task, name="../outside"))
    file = tmp_path / "hostile.json"
    file.write_bytes(as_json(hostile))
    assert main(["check", str(file), "--against", str(tmp_path / "guarded"), "--update"]) == 2
    assert not (tmp_path / "outside").exists()


def test_the_pytest_fixture_fails_when_a_value_moved(run, worse, tmp_path, assert_result_unchanged):
    file, guarded = run[0] / "result.json", tmp_path / "guarded.json"
    guarded.write_bytes(as_json(read_result(file)))
    assert_result_unchanged(file, guarded)
    guarded.write_bytes(worse)
    with pytest.raises(AssertionError, match="metric values moved"):
        assert_result_unchanged(file, guarded)


def stored(folder, result, name, version):
    """A run folder whose name says nothing of the method."""
    folder.mkdir(parents=True)
    method = replace(result.method, name=name, version=version)
    (folder / "result.json").write_bytes(as_json(replace(result, method=method)))


def test_a_guarded_file_is_named_by_task_method_and_version(run, tmp_path):
    runs, guarded = tmp_path / "others", tmp_path / "guarded"
    for place, name, version in (("a", "one", "1"), ("b", "two", "1"), ("c", "two", "2"), ("d", "by/me", None)):
        stored(runs / place / "run", run[1], name, version)
    written = [path.relative_to(guarded / "set/open_ended").as_posix() for path in guard_results(runs, guarded)]
    assert written == ["one-1.json", "two-1.json", "two-2.json", "by-me.json"]
    assert check(runs, guarded).ok
    assert guard_results(runs, guarded) == [guarded / "set/open_ended" / name for name in written]
    (moved,) = check(runs / "c", guarded).results
    assert moved.moved == []
    stored(runs / "e" / "run", run[1], "two", "3")
    with pytest.raises(DataError, match=r"two-1\.json, .*two-2\.json"):
        check(runs / "e", guarded)


def test_no_guarded_result_is_replaced_by_another(run, tmp_path):
    runs, guarded = tmp_path / "others", tmp_path / "guarded"
    stored(runs / "a", run[1], "one", "1")
    guard_results(runs, guarded)
    before = (guarded / "set/open_ended/one-1.json").read_bytes()
    stored(runs / "b", run[1], "one", "1")
    with pytest.raises(EarthInstructError, match=r"b/result\.json would replace .*a/result\.json as the guarded"):
        guard_results(runs, guarded)
    stored(tmp_path / "alike", run[1], "one-1", None)  # another method, whose file would have the same name
    with pytest.raises(EarthInstructError, match=r"alike/result\.json would replace .*one-1\.json"):
        guard_results(tmp_path / "alike", guarded)
    assert (guarded / "set/open_ended/one-1.json").read_bytes() == before


def test_a_guarded_result_that_cannot_be_written_is_named(run, tmp_path):
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(DataError, match=r"taken/one\.json cannot be written: .*; give another --against"):
        guard_results(run[0], tmp_path / "taken" / "one.json")


def kept(folder, result, **changes):
    """A run folder with a result that differs in its variant or its metrics."""
    folder.mkdir(parents=True)
    task = replace(result.task, variant=changes.pop("variant", None))
    result = replace(result, task=task, metrics=replace(result.metrics, **changes))
    (folder / "result.json").write_bytes(as_json(result))
    return folder


@pytest.mark.parametrize("target", ["guarded", "guarded/set/open_ended/constant.json"])
def test_a_limited_run_is_not_guarded_in_place_of_the_whole(run, constant, dataset, tmp_path, target, capsys):
    guarded, file = tmp_path / target, tmp_path / "guarded/set/open_ended/constant.json"
    n_images = run[1].task.dataset.n_images
    assert guard_results(run[0], guarded) == [file]
    (limited,) = evaluate(constant, dataset, setting="open_ended", output=tmp_path / "runs", limit=2).folders
    assert main(["check", str(limited), "--against", str(guarded), "--update"]) == 2
    problem = (
        f"{limited}/result.json would replace the guarded result {file}, which is of another kind (number of images: "
        f"{n_images}, now 2); guard it in a folder of its own, or remove that file first"
    )
    assert problem in capsys.readouterr().err
    with pytest.raises(DataError, match=f"limit-2/result.json: .* number of images 2 against {n_images}"):
        check(limited, guarded)
    assert read_result(file) == read_result(run[0] / "result.json")
    file.unlink()
    assert guard_results(limited, guarded) == [file]


def test_results_of_other_thresholds_and_variants_are_guarded_beside(run, tmp_path):
    guarded, plain = tmp_path / "guarded", run[0]
    folder = guarded / "set/open_ended"
    assert guard_results(plain, guarded) == [folder / "constant.json"]
    others = {
        "threshold-0.25": {"threshold": 0.25},
        "threshold-0.3": {"threshold": 0.3},
        "sweep": {"sweep": Sweep(None, [])},
        "sweep-cross": {"sweep": Sweep(None, [], [Fold(run[1].task.dataset.n_images, None)])},
        "wordings-german": {"variant": "wordings-german"},
    }
    for name, changes in others.items():
        other = kept(tmp_path / name, run[1], **changes)
        what = "variant" if "variant" in changes else "score threshold"
        with pytest.raises(DataError, match=f"cannot be compared: {what} '.*' against "):
            check(other, folder / "constant.json")
        assert guard_results(other, guarded) == [folder / f"constant-{name}.json"]
        assert guard_results(other, guarded) == [folder / f"constant-{name}.json"]  # replaced in its place
    for name in others:
        assert check(tmp_path / name, guarded).ok
    assert check(plain, guarded).ok
    assert check(tmp_path / "runs", guarded).not_run == []  # those of other thresholds are runs of their own


def test_check_says_that_thresholds_differ_before_it_lists_values(run, tmp_path, capsys):
    guard_results(run[0], tmp_path / "guarded")
    swept = kept(tmp_path / "swept", run[1], sweep=Sweep(None, []))
    assert main(["check", str(swept), "--against", str(tmp_path / "guarded")]) == 2
    out, err = capsys.readouterr()
    assert "moved" not in out
    assert "score threshold '--sweep' against 'none'; score it in the same way, or guard it too" in err
    with pytest.raises(EarthInstructError, match=r"another kind \(score threshold: none, now --sweep\);"):
        guard_results(swept, tmp_path / "guarded/set/open_ended/constant.json")


def test_several_results_do_not_go_into_one_file(constant, dataset, tmp_path):
    evaluate(constant, dataset, output=tmp_path / "runs")
    with pytest.raises(EarthInstructError, match=r"holds 3 results, and .*one\.json is one file; give a folder"):
        guard_results(tmp_path / "runs", tmp_path / "one.json")
    assert not (tmp_path / "one.json").exists()


def test_a_guarded_task_that_was_not_run_is_named_also_beside_one_result(constant, dataset, tmp_path):
    evaluate(constant, dataset, output=tmp_path / "runs")
    guard_results(tmp_path / "runs", tmp_path / "guarded")
    (one,) = evaluate(constant, dataset, setting="open_ended", output=tmp_path / "one").folders
    assert len(check(tmp_path / "one", tmp_path / "guarded").not_run) == 2
    assert check(one, tmp_path / "guarded").ok  # a run folder alone is one result
