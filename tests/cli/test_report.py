"""`earthinstruct report` as a user meets it."""


def test_report_writes_a_page_into_the_run_folder(call, method, file, tmp_path):
    _, said, _ = call("evaluate", "--method", f"{method}:Finds", "--dataset", file, "--setting", "open_vocabulary")
    run = tmp_path / "runs" / "set" / "open_vocabulary" / "finds"
    *_, line = said.splitlines()
    assert line.startswith("look at it: earthinstruct report ")
    assert (tmp_path / line.split()[-1]).resolve() == run  # no name here needs quotes
    code, out, _ = call("report", run, "--dataset", file)
    assert code == 0
    assert str(run / "report.html") in out
    assert (run / "report.html").read_text().lstrip().startswith("<!DOCTYPE html>")
    code, _, _ = call("report", run, "--dataset", file, "--against", run, "--output", "own.html", "--max-images", 1)
    assert code == 0
    assert f"{run} and {run}" in (tmp_path / "own.html").read_text()  # a run beside itself: by its folder

    code, out, _ = call("report", tmp_path / "runs")
    assert code == 0
    assert str(tmp_path / "runs" / "index.html") in out


def test_a_folder_without_a_result_is_one_line(call, tmp_path):
    code, _, err = call("report", tmp_path)
    assert code == 2
    assert "has no result.json; give a run folder" in err
    assert "Traceback" not in err
