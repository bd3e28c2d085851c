"""A signature vouches for every byte of a manifest, and only the key's holders can make it."""

import hashlib
import hmac
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from garage.errors import DamagedError, InUseError
from garage.storage import manifest as manifests
from garage.storage import signing
from garage.storage.run_directory import RunDirectory
from garage.storage.signing import Signer, SigningKey, described, key_of, signer_of
from garage.storage.store import SnapshotStore
from garage.storage.trust import sign_as_seen
from storage.faulty_disk import QuickDisk
from storage.sample_runs import assert_holds, events_named, files_of, opened, written
from storage.test_manifest import MANIFESTS, SAMPLE

KEY = SigningKey(bytes(range(32)))
OTHER = SigningKey(bytes(range(1, 33)))
SIGNED = signing.encode(SAMPLE, KEY)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("signing") / "000009.json"


def found(path, data, key=KEY):
    """The signer of a file with these bytes; None if it is damaged."""
    path.write_bytes(data)
    try:
        return signer_of(manifests.decode(data, "here"), path, key)
    except DamagedError:
        return None


def test_keys_are_hexadecimal_digits_and_do_not_show():
    assert key_of("000102030405060708090a0b0c0d0e0F" * 2) is not None
    for text in ("", "a" * 31, "a" * 33, "g" * 32, "a" * 30, " " + "a" * 32, "a" * 32 + "\n", "é" * 32):
        assert key_of(text) is None
    assert "secret" not in repr(KEY)
    assert KEY.secret.hex() not in KEY.id
    assert KEY.id != OTHER.id


def test_a_known_answer():
    """The vector of docs/storage-format.md."""
    page = (Path(__file__).parents[2] / "docs" / "storage-format.md").read_text(encoding="utf-8")
    assert KEY.id == hmac.new(bytes(range(32)), b"garage signing key", hashlib.sha256).hexdigest()[:16]
    assert f"`{KEY.id}`" in page


@given(MANIFESTS, st.binary(min_size=16, max_size=80))
def test_any_manifest_that_is_signed_is_so_by_this_key_alone(path, manifest, secret):
    key = SigningKey(secret)
    data = signing.encode(manifest, key)
    again = manifests.decode(data, "here")
    blank = {"signature": None, "checksum": ""}
    assert msgspec.structs.replace(again, **blank) == msgspec.structs.replace(manifest, **blank)
    assert found(path, data, key) is Signer.THIS_KEY
    assert found(path, data, KEY) is Signer.ANOTHER_KEY
    assert found(path, data, None) is Signer.ANOTHER_KEY
    assert signing.encode(again, key) == data


@given(MANIFESTS)
def test_without_a_key_nobody_has_signed_it(path, manifest):
    data = signing.encode(manifest, None)
    assert b'"signature": null' in data
    assert found(path, data) is Signer.NOBODY


def test_the_format_document_is_enough_to_check_a_signature():
    start = SIGNED.rindex(b'"signature": "') + len(b'"signature": "')
    signature = SIGNED[start : start + 81].decode()
    key_id, mac = signature.split(":")
    checksum_start = SIGNED.rindex(b'"checksum": "') + len(b'"checksum": "')
    blank = bytearray(SIGNED)
    blank[start + 17 : start + 81] = blank[checksum_start : checksum_start + 64] = b"0" * 64
    assert mac == hmac.new(KEY.secret, bytes(blank), hashlib.sha256).hexdigest()
    assert key_id == KEY.id
    assert json.loads(SIGNED)["signature"] == signature


@given(st.data())
def test_a_changed_byte_is_damage_or_another_signer_even_if_the_checksum_is_made_right(path, data):
    position = data.draw(st.integers(0, len(SIGNED) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != SIGNED[position]))
    changed = bytearray(SIGNED)
    changed[position] = byte
    assert found(path, bytes(changed)) is None
    repaired = manifests.with_checksum(bytes(changed))
    if repaired != SIGNED:  # else the byte was one of the checksum's own
        assert found(path, repaired) is not Signer.THIS_KEY


@given(st.integers(0, len(SIGNED)), st.integers(0, 40), st.binary(max_size=40))
def test_nothing_can_be_cut_out_or_put_in(path, start, n_cut, put_in):
    changed = SIGNED[:start] + put_in + SIGNED[start + n_cut :]
    repaired = manifests.with_checksum(changed)
    if SIGNED not in (changed, repaired):
        assert found(path, changed) is None
        assert found(path, repaired) is not Signer.THIS_KEY


@given(MANIFESTS)
def test_a_signature_fits_no_other_manifest(path, manifest):
    theirs = manifests.decode(signing.encode(manifest, KEY), "here").signature
    moved = manifests.encode(msgspec.structs.replace(SAMPLE, signature=theirs))
    assert found(path, moved) in {Signer.ALTERED, Signer.THIS_KEY}
    assert (found(path, moved) is Signer.THIS_KEY) == (moved == SIGNED)


@pytest.mark.parametrize(
    "forged",
    [
        lambda document: {"signature": document["signature"], **document, "recipe": "ff" * 32},
        lambda document: {**document, "recipe": "ff" * 32, "x": {"signature": document["signature"]}},
        lambda document: {**document, "signature": document["signature"][:17]},
        lambda document: {**document, "signature": document["signature"] + "0"},
        lambda document: {**document, "signature": document["signature"].upper()},
        lambda document: {**document, "signature": f"{KEY.id}:{'0' * 64}"},
    ],
)
def test_forgeries(path, forged):
    document = forged(json.loads(SIGNED))
    text = msgspec.json.format(msgspec.json.encode(document), indent=1)
    assert found(path, manifests.with_checksum(text)) in {Signer.ALTERED, Signer.ANOTHER_KEY}


def test_a_second_field_within_the_digits_that_are_replaced_is_seen(path):
    """The digits are not part of what is signed, so they must be nothing but the signature."""
    start = SIGNED.rindex(b'"signature": "') + len(b'"signature": "') + 17
    inserted = b'","recipe":null,"x":"'
    changed = SIGNED[:start] + inserted + b"0" * (64 - len(inserted)) + SIGNED[start + 64 :]
    data = manifests.with_checksum(changed)
    assert manifests.decode(data, "here").recipe is None
    assert found(path, data) is Signer.ALTERED


def test_a_manifest_that_was_replaced_after_it_was_read_is_not_vouched_for(path):
    read = manifests.decode(signing.encode(msgspec.structs.replace(SAMPLE, recipe="ff" * 32), OTHER), "here")
    path.write_bytes(SIGNED)
    with pytest.raises(DamagedError, match="replaced while it was being read"):
        signer_of(read, path, KEY)


@pytest.mark.parametrize(
    ("original", "expected"),
    [(KEY, Signer.THIS_KEY), (OTHER, Signer.NOBODY), (None, Signer.NOBODY)],
    ids=["this key", "another key", "nobody"],
)
def test_what_is_made_from_a_manifest_is_signed_if_that_was(path, original, expected):
    data = signing.encode(SAMPLE, original)
    path.write_bytes(data)
    changed = msgspec.structs.replace(SAMPLE, name="another")
    made = signing.encode_like(changed, manifests.decode(data, "here"), path, KEY)
    assert found(path, made) is expected


def test_it_is_said_who_signed():
    manifest = manifests.decode(SIGNED, "here")
    lines = [described(signer, manifest, key) for signer in Signer for key in (KEY, None)]
    assert len({line for line in lines if line}) == 5
    assert all(KEY.id in line for line in lines if "not signed" not in line)


def test_a_writer_signs_what_it_writes_and_what_it_takes_over(tmp_path):
    run = written(tmp_path / "run", [0, 1], key=KEY)
    writer = opened(run, "all", last_epoch=1, key=KEY)
    writer.close()
    store = SnapshotStore(run, KEY)
    assert [store.read(epoch).signer for epoch in (0, 1)] == [Signer.THIS_KEY] * 2
    assert SnapshotStore(run, OTHER).read().signer is Signer.ANOTHER_KEY
    assert SnapshotStore(run).read().signer is Signer.ANOTHER_KEY
    assert SnapshotStore(written(tmp_path / "unsigned", [0]), KEY).read().signer is Signer.NOBODY


def signers(path, key=KEY):
    store = SnapshotStore(path, key)
    return {epoch: store.read(epoch).signer for epoch in store.epochs()}


def test_signing_as_seen_changes_signatures_and_nothing_else(tmp_path):
    run = written(tmp_path / "run", range(3), key=OTHER)
    before, digests = files_of(run), {each.epoch: each.digest for each in SnapshotStore(run).manifests()[0]}
    seen = SnapshotStore(run).manifests()[0]
    sign_as_seen(RunDirectory(run), seen, KEY, QuickDisk())
    after = files_of(run)
    changed = {str(name) for name in after if after[name] != before.get(name)}
    assert changed == {"events.jsonl", *(f"snapshots/{epoch:06d}.json" for epoch in range(3))}
    assert signers(run) == dict.fromkeys(range(3), Signer.THIS_KEY)
    assert {each.epoch: each.digest for each in SnapshotStore(run).manifests()[0]} == digests
    assert SnapshotStore(run).verify() == []
    assert [(event["epochs"], event["key"]) for event in events_named(run, "trusted")] == [([0, 1, 2], KEY.id)]
    assert_holds(run, 2)
    opened(run, "all", last_epoch=2, key=KEY).close()


def test_what_has_changed_since_it_was_seen_is_not_signed(tmp_path):
    run = written(tmp_path / "run", [0], key=OTHER)
    seen = SnapshotStore(run).manifests()[0]
    written(tmp_path / "evil", [0], key=OTHER, recipe=b"evil")
    (run / "snapshots/000000.json").write_bytes((tmp_path / "evil/snapshots/000000.json").read_bytes())
    with pytest.raises(InUseError, match="has been changed since it was shown"):
        sign_as_seen(RunDirectory(run), seen, KEY, QuickDisk())
    assert found(tmp_path / "copy", (run / "snapshots/000000.json").read_bytes()) is Signer.ANOTHER_KEY
    assert not (run / "lock").exists()


def test_what_a_rewind_has_abandoned_stays_so(tmp_path):
    run = written(tmp_path / "run", [0, 1], key=OTHER)
    seen = SnapshotStore(run).manifests()[0]
    event = {"to": 0, "abandoned": {"1": seen[1].checksum}}
    RunDirectory(run).add_event("rewind", event, QuickDisk())
    with pytest.raises(InUseError, match=r"000001\.json has been changed"):
        sign_as_seen(RunDirectory(run), seen, KEY, QuickDisk())
    assert SnapshotStore(run).epochs() == [0]


def test_a_run_in_use_is_not_signed(tmp_path):
    run = written(tmp_path / "run", [0], key=OTHER)
    seen = SnapshotStore(run).manifests()[0]
    writer = opened(run, "all", last_epoch=0, key=OTHER)
    before = files_of(run)
    with pytest.raises(InUseError):
        sign_as_seen(RunDirectory(run), seen, KEY, QuickDisk())
    assert files_of(run) == before
    writer.close()


KILLED_WHILE_SIGNING = """
import os, shutil, signal, sys
from pathlib import Path
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore
from garage.storage.trust import sign_as_seen
from storage.faulty_disk import PRIMITIVES, QuickDisk
from storage.test_signing import KEY

class KillingDisk(QuickDisk):
    left = 0

def killing(name):
    def operation(self, *args):
        KillingDisk.left -= 1
        if KillingDisk.left == 0:
            if TORN and name == "write":
                args[0].write(args[1][: len(args[1]) // 2])
                args[0].flush()
            os.kill(os.getpid(), signal.SIGKILL)
        getattr(QuickDisk, name)(self, *args)
    return operation

for name in (*PRIMITIVES, "link", "make_folder"):
    setattr(KillingDisk, name, killing(name))
TORN = sys.argv[2] == "torn"
folder = Path(sys.argv[1])
for n in range(1, 200):
    run = folder / str(n)
    shutil.copytree(folder / "run", run)
    child = os.fork()
    if child == 0:
        KillingDisk.left = n
        sign_as_seen(RunDirectory(run), SnapshotStore(run).manifests()[0], KEY, KillingDisk())
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        print(n)
        break
"""


@pytest.mark.parametrize("moment", ["before", "torn"])
def test_killed_at_any_operation_while_signing_each_manifest_is_the_old_or_the_new_one(tmp_path, moment):
    written(tmp_path / "run", range(3), key=OTHER)
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_SIGNING, tmp_path, moment],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])},
        capture_output=True,
        text=True,
        check=True,
    )
    n_operations = int(done.stdout)
    assert n_operations > 12
    for n in range(1, n_operations):
        run = tmp_path / str(n)
        assert SnapshotStore(run).verify() == []
        assert set(signers(run)) == {0, 1, 2}
        assert set(signers(run).values()) <= {Signer.THIS_KEY, Signer.ANOTHER_KEY}
        sign_as_seen(RunDirectory(run), SnapshotStore(run).manifests()[0], KEY, QuickDisk())
        assert set(signers(run).values()) == {Signer.THIS_KEY}
        opened(run, "all", last_epoch=2, key=KEY).close()
        assert not list(run.rglob(".unfinished-[0-9]*"))
