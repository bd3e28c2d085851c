"""Rows of metrics as tables of other programs: CSV, Parquet, pandas."""

import csv
import importlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from garage.core.state import json_scalar
from garage.errors import DependencyError

if TYPE_CHECKING:
    import pandas as pd

_INT64 = range(-(1 << 63), 1 << 63)


def columns_of(rows: Iterable[Mapping[str, Any]], x_axis: str) -> list[str]:
    """Names of all columns: ``epoch``, the x axis, and the others sorted; digests are none."""
    keys = {key for row in rows for key in row} - {"digest"}
    first = [key for key in dict.fromkeys(("epoch", x_axis)) if key in keys]
    return first + sorted(keys - set(first))


def as_csv(rows: Sequence[Mapping[str, Any]], x_axis: str) -> bytes:
    """A CSV file in UTF-8, one line an epoch below a header; what a row lacks is empty."""
    text = io.StringIO(newline="")
    columns = columns_of(rows, x_axis)
    if columns:
        writer = csv.DictWriter(text, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({key: json_scalar(value) for key, value in row.items()} for row in rows)
    return text.getvalue().encode()


def as_parquet(rows: Sequence[Mapping[str, Any]], x_axis: str) -> bytes:
    """A Parquet file: columns of int64 where all numbers are whole, else float64; what a row lacks is null.

    Raises:
        DependencyError: the package pyarrow is not installed.
    """
    arrow = _library("pyarrow", "parquet", "Writing Parquet")
    parquet = importlib.import_module("pyarrow.parquet")
    columns = {}
    for name in columns_of(rows, x_axis):
        values = [row.get(name) for row in rows]
        is_whole = all(value is None or (isinstance(value, int) and value in _INT64) for value in values)
        numbers = values if is_whole else [None if value is None else float(value) for value in values]
        columns[name] = arrow.array(numbers, arrow.int64() if is_whole else arrow.float64())
    file = io.BytesIO()
    parquet.write_table(arrow.table(columns), file)
    return file.getvalue()


def as_frame(rows: Sequence[Mapping[str, Any]], x_axis: str) -> "pd.DataFrame":
    """A pandas frame with the epoch as its index; what a row lacks is NaN.

    Raises:
        DependencyError: the package pandas is not installed.
    """
    pandas = _library("pandas", "pandas", "A frame of metrics")
    made: pd.DataFrame = pandas.DataFrame(list(rows), columns=columns_of(rows, x_axis))
    return made.set_index("epoch") if len(made.columns) else made


FORMATS: dict[str, Callable[[Sequence[Mapping[str, Any]], str], bytes]] = {"csv": as_csv, "parquet": as_parquet}
"""By the name and file ending of each."""


def _library(module: str, extra: str, what: str) -> Any:  # noqa: ANN401 - of a package that need not be installed
    try:
        return importlib.import_module(module)
    except ImportError as error:
        msg = (
            f"{what} needs the package {module}, which is not installed: pip install 'garage[{extra}]'. "
            "Or export to csv, which needs nothing."
        )
        raise DependencyError(msg) from error
