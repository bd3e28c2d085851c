"""Reads and verifies a run with nothing of garage's: python read_a_snapshot.py RUN. See docs/storage-format.md."""

import contextlib
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import zstandard
from blake3 import blake3

NOT_IN_JSON = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
SCALARS = {"bool", "int", "float", "str", "null", "empty"}


def need(condition, problem):
    if not condition:
        raise ValueError(problem)


def read_manifest(path):
    head, field, tail = path.read_bytes().rpartition(b'"checksum": "')
    need(blake3(head + field + b"0" * 64 + tail[64:]).hexdigest().encode() == tail[:64], "checksum")
    manifest = json.loads(head + field + tail)
    need((manifest["format"], manifest["epoch"]) == (1, int(path.stem)), "format or epoch")
    return manifest


def abandoned(run):
    checksums = set()
    for line in (run / "events.jsonl").read_bytes().split(b"\n")[:-1]:
        with contextlib.suppress(ValueError, TypeError, KeyError):  # what is no such event, or damaged
            event = json.loads(line)
            checksums |= set(event["abandoned"].values() if event["event"] == "rewind" else ())
    return checksums


def read_chunk(run, chunk):
    need(0 <= chunk["raw"] <= 1 << 20 and 0 <= chunk["stored"] <= 2 << 20 and chunk["offset"] >= 0, "sizes")
    need(re.fullmatch("[0-9a-f]{64}", chunk["pack"]), "name of a pack")
    with (run / "packs" / chunk["pack"][:2] / chunk["pack"][2:]).open("rb") as file:
        file.seek(chunk["offset"])
        data = file.read(chunk["stored"])
    if chunk["codec"] == "zstd":
        need(zstandard.frame_content_size(data) <= chunk["raw"], "size of a chunk")
        data = zstandard.ZstdDecompressor().decompress(data, max_output_size=chunk["raw"])
    need(blake3(data).hexdigest() == chunk["hash"], "hash of a chunk")
    return data


def read_leaf(leaf, chunks):
    for index, offset, size in leaf["pieces"]:
        need(0 <= index < len(chunks) and 0 <= offset <= offset + size <= len(chunks[index]), leaf["path"])
    data = b"".join(chunks[index][offset : offset + size] for index, offset, size in leaf["pieces"])
    need(blake3(data).hexdigest() == leaf["hash"], leaf["path"])
    if leaf["dtype"] not in SCALARS:  # opaque parts are pickles, which stay closed
        return data if leaf["dtype"] == "opaque" else np.frombuffer(data, leaf["dtype"]).reshape(leaf["shape"])
    return NOT_IN_JSON.get(json.loads(data), json.loads(data)) if leaf["dtype"] == "float" else json.loads(data)


def read_group(group, chunks):
    columns = [(column["name"], np.dtype(column["dtype"]), tuple(column["shape"])) for column in group["columns"]]
    described = [f"{column['name']}\t{column['dtype']}\t{column['shape']}" for column in group["columns"]]
    need(all(0 <= index < len(chunks) for index in group["blocks"]), group["path"])
    hashes = [blake3(chunks[index]).hexdigest() for index in group["blocks"]]
    lines = [f"{group['capacity']}\t{group['block_rows']}", *described, *hashes, ""]
    need(blake3("\n".join(lines).encode()).hexdigest() == group["hash"], group["path"])
    blocks, row_bytes = [], sum(dtype.itemsize * math.prod(shape) for _, dtype, shape in columns)
    for number, index in enumerate(group["blocks"]):
        n = min(group["block_rows"], group["rows"] - number * group["block_rows"])
        need(n > 0 and len(chunks[index]) == n * row_bytes, group["path"])
        block, offset = {}, 0
        for name, dtype, shape in columns:
            values = np.frombuffer(chunks[index], dtype, n * math.prod(shape), offset)
            block[name], offset = values.reshape(n, *shape), offset + values.nbytes
        blocks.append(block)
    empty = {name: np.zeros((0, *shape), dtype) for name, dtype, shape in columns}
    return {name: np.concatenate([block[name] for block in [empty, *blocks]]) for name in empty}


def read_snapshot(run, path):
    """The snapshot whose manifest lies at ``path``: the manifest, and the values of its leaves by path."""
    manifest = read_manifest(path)
    chunks = [read_chunk(run, chunk) for chunk in manifest["chunks"]]
    values = {leaf["path"]: read_leaf(leaf, chunks) for leaf in (*manifest["leaves"], *manifest["opaque"])}
    leaves = list(manifest["leaves"])
    for group in manifest.get("groups", []):
        values |= {f"{group['path']}/{name}": column for name, column in read_group(group, chunks).items()}
        leaves.append(dict(group, dtype="group", shape=[group["rows"]]))
    counted = [leaf for leaf in leaves if not leaf["path"].startswith(("process/", "episodes/"))]
    lines = sorted(f"{leaf['path']}\t{leaf['dtype']}\t{leaf['shape']}\t{leaf['hash']}\n" for leaf in counted)
    need(blake3("".join(lines).encode()).hexdigest() == manifest["digest"], "digest")
    recipes = {blake3(file.read_bytes()).hexdigest() for file in run.glob("recipe*")}
    need(manifest["recipe"] in {None, *recipes}, "recipe")
    return manifest, values


def read_run(run):
    """All snapshots that verify, oldest first; and a line for each that does not, or whose rows of metrics do not."""
    need(json.loads((run / "run.json").read_bytes())["format"] == 1, "format of run.json")
    snapshots, problems, gone = [], [], abandoned(run)
    paths = [path for path in (run / "snapshots").iterdir() if re.fullmatch(r"[0-9]+\.json", path.name)]
    for path in sorted(paths, key=lambda path: int(path.stem)):
        try:
            manifest, values = read_snapshot(run, path)
            if manifest["checksum"] not in gone:
                snapshots.append((manifest, values))
                rows = (run / "metrics.jsonl").read_bytes()[: manifest["log"]["bytes"]]
                need(blake3(rows).hexdigest() == manifest["log"]["hash"], "metrics.jsonl")
        except (OSError, ValueError, zstandard.ZstdError) as error:
            problems.append(f"{path.name}: {error}")
    return snapshots, problems


if __name__ == "__main__":
    all_snapshots, found = read_run(Path(sys.argv[1]))
    for name, leaf in all_snapshots[-1][1].items():
        print(name, "=", f"{leaf.dtype}{list(leaf.shape)}" if isinstance(leaf, np.ndarray) else leaf)
    sys.exit("\n".join(found) or None)
