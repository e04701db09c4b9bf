"""The table as files: `devices.csv` for any program, `devices.parquet` with types; equal tables give equal bytes."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from simulations.results.columns import COLUMNS, Kind
from simulations.results.table import Columns
from tinytrain_core.errors import StorageError
from tinytrain_core.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

CSV_FILE = "devices.csv"
PARQUET_FILE = "devices.parquet"
NAMES = [column.name for column in COLUMNS]


def write_tables(out: Path, rounds: Iterable[Columns]) -> tuple[Path, Path]:
    """Write both files, a round at a time.

    Returns:
        The CSV file and the Parquet file.

    Raises:
        StorageError: the folder cannot be written.
    """
    csv_file, parquet_file = out / CSV_FILE, out / PARQUET_FILE
    try:
        with replacing(csv_file) as plain, replacing(parquet_file) as typed:
            text = io.TextIOWrapper(plain, encoding="utf-8", newline="", write_through=True)
            _write(csv.writer(text, lineterminator="\n"), typed, rounds)
            text.detach()
    except OSError as error:
        raise StorageError(f"cannot write {csv_file} and {parquet_file}: {error.strerror}; free the disk") from error
    return csv_file, parquet_file


def _schema() -> "pa.Schema":
    import pyarrow as pa  # which takes a while, and only finished runs need

    types = {Kind.INTEGER: pa.int64(), Kind.NUMBER: pa.float64(), Kind.TEXT: pa.string()}
    return pa.schema([(column.name, types[column.kind]) for column in COLUMNS])


def _write(writer: Any, typed: BinaryIO, rounds: Iterable[Columns]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    schema = _schema()
    writer.writerow(NAMES)
    with parquet.ParquetWriter(typed, schema, compression="zstd") as groups:
        for columns in rounds:
            writer.writerows(zip(*(columns[name] for name in NAMES), strict=True))
            groups.write_table(pa.table(columns, schema=schema))
