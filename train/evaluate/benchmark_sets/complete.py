"""What is missing of a benchmark, told so that it can be put right."""

from __future__ import annotations

from stages.common import Folder, UserError
from train.evaluate.benchmark_sets.layouts import BenchmarkSet, Facts, Layout


def known_keys(facts: Facts) -> tuple[str, ...]:
    """The names of all pictures, if they are numbered; else none."""
    if facts.keys is None:
        return ()
    return tuple(facts.keys.format(number) for number in range(1, facts.pictures[0] + 1))


def not_there(config: BenchmarkSet, facts: Facts, tree: Folder, without_list: Layout | None) -> UserError:
    """The error where no layout of a set is found.

    Args:
        config: what was asked for.
        facts: what is known about it.
        tree: its root.
        without_list: a layout of which nothing but the list of names is missing.
    """
    trees = "\n".join(f"    {layout.tree}" for layout in facts.layouts)
    expected = f"Expected one of these below it:\n{trees}\n{where_to_get(facts)}"
    if not tree.is_folder():
        return UserError(f"{config.kind}: root {tree.url} is no folder. {expected}")
    if without_list is not None:
        lists = " or ".join([tree.location(without_list.lists[0]), *without_list.lists[1:]])
        return UserError(
            f"{config.kind}: {lists} is missing: the list of the split's pictures, one name per line. {expected}"
        )
    inner = next((path for path in _nested(facts) if tree.is_folder(path)), None)
    if inner is not None:
        return UserError(f"{config.kind}: {tree.url} holds {inner}; set root to {tree.location(inner)}. {expected}")
    absent = dict.fromkeys(layout.labels for layout in facts.layouts)
    shown = " or ".join(tree.location(folder) for folder in absent)
    return UserError(f"{config.kind}: there are no label maps in {shown}. {expected}")


def check_complete(
    config: BenchmarkSet, facts: Facts, layout: Layout, tree: Folder, found: int, missing: list[str]
) -> tuple[int, tuple[str, ...]]:
    """Compares what was found with what the benchmark has.

    Args:
        config: what was asked for.
        facts: what is known about it.
        layout: how it lies there.
        tree: its root.
        found: number of pictures with label maps.
        missing: paths that are not there, in order.

    Returns:
        How many pictures the benchmark has, and notes for a person.

    Raises:
        UserError: too few (unless a part will do), none, or too many.
    """
    official = facts.pictures[0]
    if found in facts.pictures and (found == official or not missing):
        note = f"{found:,} pictures, as in other lists of the field; the official split has {official:,}"
        return found, () if found == official else (note,)
    first = f"the first that is missing: {tree.location(missing[0])}" if missing else "which are missing is not known"
    if found > official:
        first = f"expected nothing else in {tree.location(layout.labels)}"
    counted = f"{found:,} of {official:,} pictures with label maps; {first}"
    if config.partial and found:
        return official, (f"only a part of {config.kind}: {counted}",)
    hint = " To try things on what is there, set partial: true; such figures are no benchmark." if found else ""
    raise UserError(f"{config.kind}: {tree.url} has {counted}. Expected {layout.tree}. {where_to_get(facts)}{hint}")


def where_to_get(facts: Facts) -> str:
    """One sentence: the official page, and the terms."""
    return f"{facts.title}: get it from {facts.page}; {facts.terms}."


def _nested(facts: Facts) -> tuple[str, ...]:
    """Where a root may be that was set one or two folders too high."""
    names = (facts.folder, f"VOCdevkit/{facts.folder}")
    return (*names, "pascal_ctx_d2") if facts.folder == "VOC2010" else names
