"""The two orders in which the field's scripts number the 59 classes of Pascal Context.

Folders called annotations_detectron2/pc59_val are written by OVSeg's script in the order of the data set's file
59_labels.txt (the classes of Pascal VOC first), by CAT-Seg's in alphabetical order. The maps do not tell which.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.common import Folder, UserError
from train.evaluate.benchmark_sets.classes import IGNORED, ClassList
from train.evaluate.benchmark_sets.files import read_data

_OTHER_NAMES = {
    "bedcloth": "bedclothes",
    "computer": "computer case",
    "light": "lamp",
    "road": "street",
    "wood": "wood piece",
}
"""Names of 59_labels.txt that are no words of the list of classes."""


def table_of_order(tree: Folder, path: str, classes: ClassList) -> tuple[NDArray[np.int32], str]:
    """The class of each number in the label maps.

    Args:
        tree: the set's root.
        path: where 59_labels.txt may be.
        classes: the 59, in alphabetical order of the data set's names.

    Returns:
        [60] int32, and a note for a person, who may know better.

    Raises:
        UserError: the file does not list the 59 classes.
    """
    shown = tree.location(path)
    if not tree.is_file(path):
        return classes.by_number(0), f"classes of the label maps taken as in alphabetical order: there is no {shown}"
    numbers = {word: number for number, names in enumerate(classes.names) for word in names.forms}
    order = []
    for line in read_data(shown).decode("utf-8", errors="replace").splitlines():
        name = line.rpartition(":")[2].strip()
        if not name:
            continue
        if (number := numbers.get(_OTHER_NAMES.get(name, name))) is None:
            raise UserError(f"{shown}: {name!r} is no class of Pascal Context; expected lines such as '1: aeroplane'")
        order.append(number)
    if sorted(order) != list(range(len(classes.names))):
        raise UserError(f"{shown}: lists {len(set(order))} classes; expected {len(classes.names)}, each once")
    table = np.array([*order, IGNORED], np.int32)
    return table, f"classes of the label maps taken as in the order of {shown}"
