"""Rows as CSV, Parquet and pandas: the same columns in the same order, and the same numbers."""

import io
import math
import sys

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from garage.errors import DependencyError
from garage.recording.metric_tables import as_csv, as_frame, as_parquet, columns_of

ROWS = [
    {"epoch": 0, "x": 10, "b": 0.1, "a": 1, "digest": "ff"},
    {"epoch": 1, "x": 20, "b": math.nan, "late": 2**53 + 1},
    {"epoch": 2, "x": 30, "b": -math.inf, "a": 2.5, "late": 3},
]


def test_csv():
    lines = as_csv(ROWS, "x").decode().splitlines()
    assert lines == ["epoch,x,a,b,late", "0,10,1,0.1,", "1,20,,NaN,9007199254740993", "2,30,2.5,-Infinity,3"]
    assert as_csv([], "x") == b""


def test_parquet():
    table = pq.read_table(io.BytesIO(as_parquet(ROWS, "x")))
    assert table.column_names == ["epoch", "x", "a", "b", "late"]
    assert [field.type for field in table.schema] == [pa.int64(), pa.int64(), pa.float64(), pa.float64(), pa.int64()]
    assert table["a"].to_pylist() == [1.0, None, 2.5]
    assert table["late"].to_pylist() == [None, 2**53 + 1, 3]
    assert repr(table["b"].to_pylist()) == "[0.1, nan, -inf]"


def test_whole_numbers_beyond_64_bits():
    table = pq.read_table(io.BytesIO(as_parquet([{"epoch": 0, "a": 2**63}], "x")))
    assert table["a"].to_pylist() == [2.0**63]


def test_pandas():
    frame = as_frame(ROWS, "x")
    assert (frame.index.name, list(frame.index), list(frame.columns)) == ("epoch", [0, 1, 2], ["x", "a", "b", "late"])
    assert frame["b"][0] == 0.1
    assert frame["a"].isna().tolist() == [False, True, False]
    assert as_frame([], "x").empty


def test_all_agree():
    from_csv = pd.read_csv(io.BytesIO(as_csv(ROWS, "x")), index_col="epoch")
    from_parquet = pd.read_parquet(io.BytesIO(as_parquet(ROWS, "x"))).set_index("epoch")
    frame = as_frame(ROWS, "x")
    pd.testing.assert_frame_equal(from_csv.astype(float), frame.astype(float), check_exact=True)
    pd.testing.assert_frame_equal(from_parquet.astype(float), frame.astype(float), check_exact=True)


def test_an_x_axis_that_is_the_epoch_or_is_not_there():
    assert columns_of(ROWS, "epoch") == columns_of(ROWS, "nothing") == ["epoch", "a", "b", "late", "x"]


@pytest.mark.parametrize(
    ("make", "package", "extra"), [(as_parquet, "pyarrow", "parquet"), (as_frame, "pandas", "pandas")]
)
def test_without_the_package(make, package, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DependencyError, match=rf"needs the package {package}, .*pip install 'garage\[{extra}\]'"):
        make(ROWS, "x")
