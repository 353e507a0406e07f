"""The photos of a source, read from wherever they lie; a storage that is down is told from a photo that is bad."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from pipeline.sources.config import AnySource, TableSource, folder_of, root_key, root_of
from pipeline.sources.tables.pictures import ParquetPictures
from stages.common import (
    NOT_TO_BE_HAD,
    WEB,
    Folder,
    ImageRecord,
    SampleError,
    StorageError,
    UserError,
    join,
    read_file,
)

_SIDE_BY_SIDE = 16
_HOSTS = 4
"""So many hosts are not all down at once by chance."""
_GOES_ON = "What is done is kept, and the same command goes on"
Outcome = bytes | Exception


class ImageReader:
    """Reads records' bytes."""

    def __init__(self, source: AnySource) -> None:
        self._source, self._root = source, root_of(source)
        self._folder = Folder(self._root)
        self._pictures = (
            ParquetPictures(folder_of(source.path), source.columns.image) if isinstance(source, TableSource) else None
        )

    def read(self, record: ImageRecord) -> bytes:
        """The encoded image.

        Raises:
            FileNotFoundError, IsADirectoryError, PermissionError: it cannot be had.
            SampleError: unreachable: its web server failed, several times; others: it lies in a damaged file.
            OSError: the storage failed, several times.
        """
        if record.row is not None and self._pictures is not None:
            return self._pictures.read(record.file, record.row)
        end = None if record.offset is None or record.nbytes is None else record.offset + record.nbytes
        try:
            if record.file.startswith("/") or "://" in record.file:
                return read_file(record.file, record.offset, end)
            return self._folder.read(record.file, record.offset, end)
        except NOT_TO_BE_HAD:
            raise
        except OSError as error:
            location = join(self._root, record.file)
            if not location.startswith(WEB):
                raise
            told = str(error) or type(error).__name__
            raise SampleError("unreachable", f"{location}: tried several times: {told}") from error

    def read_all(self, records: Sequence[ImageRecord]) -> list[Outcome]:
        """Each record's encoded image, or the error of `read`; what is not on this disk is read side by side.

        Raises:
            UserError: the source's storage is down, or there is no network: no photo is to blame for that.
        """
        outcomes: list[Outcome] = []
        with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
            for start in range(0, len(records), _SIDE_BY_SIDE):
                some = records[start : start + _SIDE_BY_SIDE]
                running = [pool.submit(self._outcome, one) if self._is_remote(one) else None for one in some]
                outcomes += [one.result() if one else self._outcome(some[at]) for at, one in enumerate(running)]
                first = max(0, len(outcomes) - _SIDE_BY_SIDE)
                last = list(zip(records[first : len(outcomes)], outcomes[first:], strict=True))
                self._check_root([outcome for record, outcome in last if self._is_below_root(record)])
                _check_network([pair for pair in last if pair[0].file.startswith(WEB)])
        return outcomes

    def _outcome(self, record: ImageRecord) -> Outcome:
        try:
            return self.read(record)
        except Exception as error:
            return error

    def _is_remote(self, record: ImageRecord) -> bool:
        return record.row is None and "://" in join(self._root, record.file)

    def _is_below_root(self, record: ImageRecord) -> bool:
        return record.row is None and not record.file.startswith("/") and "://" not in record.file

    def _check_root(self, outcomes: Sequence[Outcome]) -> None:
        """Looks whether anything at all can be had of the folder that file names are relative to.

        Raises:
            UserError: it cannot.
        """
        errors = [one for one in outcomes if isinstance(one, Exception)]
        if not errors or len(errors) < len(outcomes):
            return
        is_web = self._root.startswith(WEB)
        is_one_refusal = len(errors) == 1 and isinstance(errors[0], PermissionError)
        is_silent = not any(_is_answer(one, is_web) for one in errors)
        if is_silent and "://" in self._root and not is_one_refusal:
            told = str(errors[0]) or type(errors[0]).__name__
        elif all(isinstance(one, FileNotFoundError) for one in errors) and not is_web and not self._has_root():
            told = "there is no such folder"
        else:
            return
        raise UserError(
            f"{root_key(self._source)}: {self._root}: not one of {len(errors)} photos can be read: {told}. Check "
            f"address, network and rights. {_GOES_ON}. If these photos alone are bad, source.exclude leaves them out"
        )

    def _has_root(self) -> bool:
        try:
            return self._folder.is_folder()
        except OSError:
            return True


def _is_answer(error: Exception, is_web: bool) -> bool:
    """Whether a storage speaks of the one photo: a store that refuses everything has the wrong credentials."""
    if isinstance(error, NOT_TO_BE_HAD):
        return is_web or not isinstance(error, PermissionError)
    return not isinstance(error, OSError) and not _is_unreachable(error)


def _is_unreachable(outcome: Outcome) -> bool:
    return isinstance(outcome, SampleError) and outcome.reason == "unreachable"


def _check_network(photos: Sequence[tuple[ImageRecord, Outcome]]) -> None:
    """Looks whether any of the web servers that rows name gives any sign of life.

    Raises:
        UserError: there are many, and none does.
    """
    hosts = {urlsplit(record.file).netloc for record, _ in photos}
    if len(photos) < _SIDE_BY_SIDE or len(hosts) < _HOSTS:
        return
    errors = [outcome for _, outcome in photos if isinstance(outcome, SampleError) and _is_unreachable(outcome)]
    causes = [error.__cause__ for error in errors]
    if len(causes) == len(photos) and not any(isinstance(one, StorageError) and one.status for one in causes):
        raise UserError(
            f"source: {len(hosts)} web servers were asked for {len(photos)} photos, and none answers, such as "
            f"{photos[0][0].file}: {causes[0]}. Is this machine on the network? {_GOES_ON}"
        )
