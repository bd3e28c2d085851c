"""A reader of runs written from docs/storage-format.md alone: it imports nothing of garage."""

import contextlib
import json
from pathlib import Path

import numpy as np
import zstandard
from blake3 import blake3

SCALARS = {"bool", "int", "float", "str", "null", "empty"}
NOT_IN_JSON = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def need(condition, problem):
    """Refuse what is damaged."""
    if not condition:
        raise ValueError(problem)


def read_manifest(path):
    """A manifest whose checksum, format and epoch are right."""
    data = path.read_bytes()
    start = data.rindex(b'"checksum": "') + len(b'"checksum": "')
    checksum = data[start : start + 64]
    zeroed = data[:start] + b"0" * 64 + data[start + 64 :]
    need(blake3(zeroed).hexdigest().encode() == checksum, f"{path}: checksum")
    manifest = json.loads(data)
    need(manifest["format"] == 1, f"{path}: format")
    need(manifest["epoch"] == int(path.stem), f"{path}: epoch")
    return manifest


def abandoned(run):
    """Checksums of manifests that a rewind abandoned."""
    checksums = set()
    for line in (run / "events.jsonl").read_bytes().split(b"\n")[:-1]:
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and event.get("event") == "rewind":
                checksums |= set(event["abandoned"].values())
    return checksums


def read_chunk(run, chunk):
    """The uncompressed bytes of a chunk."""
    need(0 <= chunk["raw"] <= 1 << 20 and 0 <= chunk["stored"] <= 2 << 20 and chunk["offset"] >= 0, "chunk: sizes")
    with (run / "packs" / chunk["pack"][:2] / chunk["pack"][2:]).open("rb") as file:
        need(file.read(16) == b"garage pack 1\n\0\0", "pack: first bytes")
        file.seek(chunk["offset"])
        data = file.read(chunk["stored"])
    if chunk["codec"] == "zstd":
        data = zstandard.ZstdDecompressor().decompress(data, max_output_size=chunk["raw"])
    need(blake3(data).hexdigest() == chunk["hash"], "chunk: hash")
    return data


def read_leaf(leaf, chunks):
    """The value of a leaf."""
    parts = []
    for index, offset, size in leaf["pieces"]:
        need(0 <= index < len(chunks) and 0 <= offset <= offset + size <= len(chunks[index]), "piece: range")
        parts.append(chunks[index][offset : offset + size])
    data = b"".join(parts)
    need(blake3(data).hexdigest() == leaf["hash"], f"{leaf['path']}: hash")
    if leaf["dtype"] == "opaque":
        return data
    if leaf["dtype"] not in SCALARS:
        return np.frombuffer(data, np.dtype(leaf["dtype"])).reshape(leaf["shape"])
    value = json.loads(data)
    return NOT_IN_JSON.get(value, value) if leaf["dtype"] == "float" else value


def digest(manifest):
    """The digest of a manifest's leaves."""
    counted = [leaf for leaf in manifest["leaves"] if not leaf["path"].startswith(("process/", "episodes/"))]
    lines = sorted(f"{leaf['path']}\t{leaf['dtype']}\t{leaf['shape']}\t{leaf['hash']}\n" for leaf in counted)
    return blake3("".join(lines).encode()).hexdigest()


def read_newest(run):
    """The newest snapshot of a run: its manifest, and the values of its leaves by path."""
    run = Path(run)
    need(json.loads((run / "run.json").read_bytes())["format"] == 1, "run.json: format")
    names = [path for path in (run / "snapshots").glob("*.json") if path.stem.isdecimal() and path.stem.isascii()]
    gone = abandoned(run)
    manifests = [manifest for manifest in map(read_manifest, names) if manifest["checksum"] not in gone]
    manifest = max(manifests, key=lambda manifest: manifest["epoch"])
    chunks = [read_chunk(run, chunk) for chunk in manifest["chunks"]]
    return manifest, {leaf["path"]: read_leaf(leaf, chunks) for leaf in (*manifest["leaves"], *manifest["opaque"])}
