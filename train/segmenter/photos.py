"""Which photos are meant, and where their results go."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from stages.common import UserError
from stages.images import files_of_kind
from train.segmenter.result import output_files


def find_photos(places: Sequence[str]) -> list[Path]:
    """Files, folders (their photos, not those of folders inside) and glob patterns as a list of photos, each once.

    What counts as a photo in a folder is `files_of_kind`; a file that is named is taken whatever its ending.
    Results of an earlier run in a folder (``.overlay.png``, ``.labels.png``) are no photos.

    Raises:
        UserError: there is no such file, or a folder or pattern has no photo.
    """
    found: dict[Path, Path] = {}
    for place in places:
        for path in _photos_of(place):
            found.setdefault(path.resolve(), path)
    return list(found.values())


def _photos_of(place: str) -> list[Path]:
    path = Path(place).expanduser()
    if path.is_dir():
        names, _ = files_of_kind(one.name for one in path.iterdir() if one.is_file())
        photos = [path / name for name in names if not name.endswith((".overlay.png", ".labels.png"))]
        if not photos:
            raise UserError(f"{place}: the folder has no photo; expected files such as *.jpg or *.png")
        return photos
    if path.exists():
        return [path]
    matched = sorted(Path(one) for one in glob.glob(str(path), recursive=True))
    photos = [one for one in matched if one.is_file()]
    if not photos:
        what = "no file matches this pattern" if glob.has_magic(place) else "there is no such file or folder"
        raise UserError(f"{place}: {what}; expected a photo, a folder of photos, or a pattern such as 'photos/*.jpg'")
    return photos


def check_outputs(photos: Sequence[Path], folder: Path) -> None:
    """Refuses photos whose results would overwrite each other, or a photo.

    Raises:
        UserError: naming both files.
    """
    inputs = {photo.resolve() for photo in photos}
    owners: dict[str, Path] = {}
    for photo in photos:
        other = owners.setdefault(photo.stem.casefold(), photo)
        if other is not photo:
            raise UserError(
                f"{other} and {photo} would both be written as {folder / photo.stem}.overlay.png; "
                "segment them one after the other, each into a folder of its own"
            )
        for file in output_files(folder, photo.stem):
            if file.resolve() in inputs:
                raise UserError(f"{photo}: its result {file} would overwrite a photo; choose another folder")
