import pytest


def test_workers_change_no_number(trained, six_digests):
    printed = trained("resume", trained.run_path, "--n-epochs", 5, "--workers", 2).stdout
    assert "2 workers for collects of 1 group(s)" in printed
    trained("resume", trained.run_path, "--n-epochs", 6, "--workers", 1)
    assert trained.digests() == six_digests


@pytest.mark.parametrize("words", [("run", "code/sample.py"), ("resume", "data")])
def test_a_number_of_workers_that_is_none(garage, words):
    said = garage(*words[:1], "--workers", -1, *words[1:], code=2).stderr
    assert "-1 is not in the range x>=0" in said
