import pytest

from garage.storage.disk import Disk
from garage.storage.lock import WriterLock


def flip_a_byte_of_each_pack(path):
    """Damage everything that was stored; the manifests stay whole."""
    for pack in (path / "packs").glob("??/*"):
        data = bytearray(pack.read_bytes())
        data[100] ^= 1
        pack.write_bytes(bytes(data))


def test_going_on_gives_the_numbers_of_an_uninterrupted_run(trained, six_digests):
    trained("resume", trained.run_path, "--n-epochs", 6)
    assert trained.digests() == six_digests


def test_the_batch_size_can_change(trained):
    trained("resume", trained.run_path, "--n-epochs", 5, "--batch-size", 300)
    assert "batch_size=300" in trained("show", trained.run_path).stdout


def test_nothing_left(trained):
    assert "4 epochs are finished and n_epochs=4 is the total" in trained("resume", trained.run_path, code=4).stderr


@pytest.mark.parametrize("which", ["1", "first"])
def test_an_older_epoch_goes_on_beside_the_run(trained, which):
    before = trained.files()
    trained("resume", trained.run_path, "--from", which)
    assert trained.files() == before
    assert trained.digests(trained.run_path.with_name("sample_1")) == trained.digests()


def test_rewind_stays_in_place(trained, six_digests):
    printed = trained("resume", trained.run_path, "--from", 1, "--rewind", "--n-epochs", 6).stdout
    assert f"Rewound {trained.run_path} to epoch 1; abandoned the snapshots of epochs: 2, 3." in printed
    assert printed.count("-- Train Args --") == 1
    assert trained.digests() == six_digests
    assert not trained.run_path.with_name("sample_1").exists()
    assert "is whole" in trained("verify", trained.run_path).stdout


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--rewind"], 2, "--rewind needs --from EPOCH"),
        (["--rewind", "--from", "last"], 2, "--rewind needs --from EPOCH"),
        (["--rewind", "--from", "9"], 3, "There is no snapshot of epoch 9"),
        (["--rewind", "--from", "1", "--n-epochs", "2"], 4, "Nothing was rewound: 2 epochs would be finished"),
        (["--rewind", "--from", "1", "--batch-size", "0"], 2, "batch_size must be an integer of at least 1, got 0"),
    ],
)
def test_a_rewind_that_cannot_be_is_refused_before_anything_changes(trained, words, code, message):
    before = trained.files()
    assert message in trained("resume", trained.run_path, *words, code=code).stderr
    assert trained.files() == before


def test_a_rewind_to_a_damaged_snapshot_is_refused_before_anything_changes(trained):
    flip_a_byte_of_each_pack(trained.run_path)
    before = trained.files()
    assert "verifies" in trained("resume", trained.run_path, "--from", 1, "--rewind", code=3).stderr
    assert trained.files() == before


def test_a_damaged_run(trained):
    flip_a_byte_of_each_pack(trained.run_path)
    assert "garage verify" in trained("resume", trained.run_path, "--n-epochs", 5, code=3).stderr


@pytest.mark.parametrize("words", [[], ["--from", "1", "--rewind"]])
def test_a_run_in_use_is_left_alone(trained, words):
    before = trained.files()
    with WriterLock(trained.run_path / "lock", Disk()):
        said = trained("resume", trained.run_path, "--n-epochs", 6, *words, code=5).stderr
    assert "is in use: process" in said
    assert trained.files() == before


@pytest.mark.parametrize(
    ("command", "advice"),
    [("resume", "give it by --from 2"), ("replay", "give it by --from 2"), ("verify", "give {run}"), ("prune", "give")],
)
def test_an_epoch_behind_a_run_that_takes_none(trained, command, advice):
    before = trained.files()
    refusal = trained(command, f"{trained.run_path}@2", code=2).stderr
    assert f"no epoch follows the run here, got {trained.run_path}@2; {advice.format(run=trained.run_path)}" in refusal
    assert trained.files() == before
