"""Pictures that lie in a Parquet file, read row by row without the rest of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from pipeline.sources.tables.columns import column_of, is_damage, picture_column
from stages.common import Folder, SampleError, retried

_AT_ONCE = 16
_BUFFER_BYTES = 1 << 20


class ParquetPictures:
    """Reads pictures out of the Parquet files of a folder.

    Rows that are asked for in their order cost one pass through the file, a few pictures in memory at a time; going
    back costs another pass through the row group.

    Args:
        folder: where the files lie.
        column: the column of pictures: bytes, or a struct with `bytes` as the Hugging Face hub has it.
    """

    def __init__(self, folder: str, column: str) -> None:
        self._folder, self._column = Folder(folder), column
        self._open = ExitStack()
        self._name = self._leaf = ""
        self._file: Any = None
        self._starts: Any = None
        self._batches: Iterator[Any] = iter(())
        self._group, self._first = -1, 0
        self._pictures: list[bytes | None] = []

    def read(self, name: str, row: int) -> bytes:
        """The encoded picture in a row.

        Args:
            name: of the file.
            row: from 0.

        Raises:
            FileNotFoundError, PermissionError: there is no such file, or it may not be read.
            OSError: the storage failed.
            SampleError: the file is damaged there, or has no such row or no picture in it.
        """
        data = retried(lambda: self._attempt(name, row))
        if data is None:
            raise SampleError("empty_file", f"{name}, row {row + 1}: holds no picture")
        return data

    def _attempt(self, name: str, row: int) -> bytes | None:
        """Leaves no file half read behind an error."""
        try:
            return self._seek(name, row)
        except (pa.ArrowException, OSError) as error:
            self._leave()
            if not is_damage(error):
                raise
            raise SampleError("undecodable_image", f"{name}, row {row + 1}: cannot be read: {error}") from error

    def _seek(self, name: str, row: int) -> bytes | None:
        if name != self._name:
            self._enter(name)
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        if not 0 <= group < len(self._starts) - 1:
            raise SampleError("missing_file", f"{name}: has {self._starts[-1]} rows, none with the number {row + 1}")
        if group != self._group or row < self._first:
            self._batches = self._file.iter_batches(_AT_ONCE, [group], [self._leaf], use_threads=False)
            self._group, self._first, self._pictures = group, int(self._starts[group]), []
        while row >= self._first + len(self._pictures):
            self._first += len(self._pictures)
            self._pictures = column_of(next(self._batches), self._leaf).to_pylist()
        return self._pictures[row - self._first]

    def _enter(self, name: str) -> None:
        self._leave()
        file = self._open.enter_context(self._folder.open(name))
        self._file = pyarrow.parquet.ParquetFile(file, buffer_size=_BUFFER_BYTES)
        self._leaf = picture_column(self._file.schema_arrow, self._column)
        metadata = self._file.metadata
        rows = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        self._starts = np.cumsum([0, *rows])
        self._name = name

    def _leave(self) -> None:
        self._name, self._group, self._pictures, self._batches = "", -1, [], iter(())
        self._open.close()
