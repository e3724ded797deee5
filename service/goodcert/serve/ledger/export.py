"""Certificates as a table in a file: CSV, or Parquet where pyarrow is installed."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from goodcert.serve.ledger.damage import Damaged, body_of, raw
from goodcert.serve.ledger.tables import certificates

COLUMNS: dict[str, tuple[type, Callable[[dict[str, Any]], Any]]] = {
    "id": (str, lambda body: body["id"]),
    "issued_at": (str, lambda body: body["issued_at"]),
    "model": (str, lambda body: body["model"]["name"]),
    "model_version": (str, lambda body: body["model"]["version"]),
    "model_sha256": (str, lambda body: body["model"]["sha256"]),
    "image_sha256": (str, lambda body: body["image"]["sha256"]),
    "image_format": (str, lambda body: body["image"]["format"]),
    "image_width": (int, lambda body: body["image"]["width"]),
    "image_height": (int, lambda body: body["image"]["height"]),
    "epsilon": (float, lambda body: body["epsilon"]),
    "norm": (str, lambda body: body["norm"]),
    "scope": (str, lambda body: body["scope"]),
    "method": (str, lambda body: body["method"]),
    "prediction_index": (int, lambda body: body["prediction"]["index"]),
    "prediction_label": (str, lambda body: body["prediction"]["label"]),
    "confidence": (float, lambda body: body["confidence"]),
    "confidence_upper_bound": (float, lambda body: body["confidence_upper_bound"]),
    "confidence_lower_bound": (float, lambda body: body["confidence_lower_bound"]),
    "possible_labels": (str, lambda body: "|".join(body["possible_labels"])),
    "threshold": (float, lambda body: body["threshold"]),
    "verdict": (str, lambda body: body["verdict"]),
    "certified_radius": (float, lambda body: body["certified_radius"]),
    "engine_version": (str, lambda body: body["engine"]["version"]),
    "engine_device": (str, lambda body: body["engine"]["device"]),
    "format": (int, lambda body: body.get("format", 1)),
}
_AT_ONCE = 5000

Row = tuple[Any, ...]


def write(connection: Connection, path: Path, since: str = "") -> int:
    """Write the certificates issued at `since` or later, oldest first; returns how many.

    Raises ValueError for a file of neither kind, or where pyarrow is missing, and Damaged.
    """
    if path.suffix not in WRITERS:
        raise ValueError(f"{path}: expected a name that ends in {' or '.join(WRITERS)}")
    return WRITERS[path.suffix](path, _rows(connection, since))


def _rows(connection: Connection, since: str) -> Iterator[Row]:
    c = certificates.c
    query = select(raw(c.seq), raw(c.body)).where(c.issued_at >= since).order_by(c.seq)
    with connection.execute(query, execution_options={"yield_per": _AT_ONCE}) as found:
        for seq, body in found:
            yield _row(seq, body_of(seq, body))


def _row(seq: object, certificate: dict[str, Any]) -> Row:
    try:
        return tuple(read(certificate) for _, read in COLUMNS.values())
    except (KeyError, TypeError) as error:
        raise Damaged(f"certificate {seq}: its body is no certificate") from error


def _csv(path: Path, rows: Iterable[Row]) -> int:
    count = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for some in _batched(rows):
            writer.writerows(some)
            count += len(some)
    return count


def _parquet(path: Path, rows: Iterable[Row]) -> int:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise ValueError("Parquet needs pyarrow: pip install 'goodcert[parquet]'") from error
    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    schema = pa.schema([(name, kinds[kind]) for name, (kind, _) in COLUMNS.items()])
    count = 0
    with pq.ParquetWriter(path, schema) as writer:
        for some in _batched(rows):
            columns = [
                pa.array(column, field.type) for column, field in zip(zip(*some, strict=True), schema, strict=True)
            ]
            writer.write_table(pa.table(columns, schema=schema))
            count += len(some)
    return count


def _batched(rows: Iterable[Row]) -> Iterator[Sequence[Row]]:
    rows = iter(rows)
    while some := list(islice(rows, _AT_ONCE)):
        yield some


WRITERS: dict[str, Callable[[Path, Iterable[Row]], int]] = {".csv": _csv, ".parquet": _parquet}
