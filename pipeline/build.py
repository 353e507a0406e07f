"""A build from manifest to finished folder: plan, resume, run, finalise."""

from __future__ import annotations

import json
from dataclasses import dataclass

from rich.console import Console

from pipeline.finalise import finalise
from pipeline.fingerprint import library_fingerprint
from pipeline.lock_driver import only_driver
from pipeline.manifest import BuildManifest, mixture, pin_precision, slowness
from pipeline.plan import Plan, differences, make_plan, write_plan
from pipeline.records import (
    LIBRARIES,
    LOCK_FILE,
    POISON_IMAGES,
    RECEIPTS,
    REPORT,
    SHARDS,
    UNIT_ROWS,
    Counts,
    Lock,
    LockedUnit,
    Receipt,
    devices_of,
    read_plan,
    read_receipts,
    receipt_name,
    rows_name,
    shard_name,
    unit_key,
)
from pipeline.report.timing import timed_run
from pipeline.terminal import BuildProgress
from pipeline.unit import BuildSpec, Failures
from stages.common import Folder, UserError, canonical_json, digest, read_file


@dataclass(frozen=True, slots=True)
class BuildOutcome:
    """How a build ended.

    Attributes:
        lock: of the finished build; None if units failed.
        receipts: of all units that are done, in their order.
        done_before: units that earlier runs had done.
        failures: units that could not be done, with the reason.
    """

    lock: Lock | None
    receipts: list[Receipt]
    done_before: int
    failures: Failures


def build(
    manifest: BuildManifest,
    out: str,
    console: Console,
    *,
    address: str | None = None,
    lock: str | None = None,
    take_over: bool = False,
) -> BuildOutcome:
    """Builds, or goes on with a build that was stopped.

    Args:
        manifest: what to build.
        out: folder or fsspec URL.
        console: where progress goes.
        address: of a running Ray cluster.
        lock: build.lock.json of an earlier build: this one must have the same plan and the same image bytes.
        take_over: ignore the mark of another driver that is known to be gone (remote folders only).

    Raises:
        UserError: the inputs, the folder or the lock do not allow it; nothing was changed.
        LockError: an image's bytes are not those of the lock.
    """
    store = Folder(out)
    with only_driver(store, take_over), BuildProgress(console) as progress:
        progress("reading inputs, hashing models")
        plan = make_plan(manifest)
        for sentence in plan.aside.notes:
            progress.say(sentence)
        locked = read_lock_file(lock) if lock else None
        expected = _expected_images(str(lock), locked, plan) if locked else None
        libraries = library_fingerprint()
        _settle(store, plan, libraries)
        poison_images = _known_poison_images(store)
        if locked:
            poison_images |= frozenset(locked.poison_images)
        receipts = whole_units(store, plan)
        recorded = devices_of(receipts.values()) or (locked.devices if locked else [])
        compute = pin_precision(manifest.compute, recorded)
        if len(receipts) < plan.units and address is None and (warning := slowness(compute)):
            progress.say(warning)
        spec = BuildSpec(
            manifest=manifest.model_copy(update={"compute": compute}),
            plan_digest=plan.digest,
            out_url=out,
            cache_url=manifest.run.cache_url,
            fingerprint=digest(libraries),
            models=plan.document.models,
            expected_images=expected,
            lock_url=lock,
        )
        done_before = len(receipts)
        with timed_run(store, receipts, manifest.run.runner):
            failures = _run(spec, plan, receipts, poison_images, progress, address, store)
        if failures:
            return BuildOutcome(None, _in_order(receipts), done_before, failures)
        poison_images |= _known_poison_images(store)  # those found in this run, too
        finished = _finished(store, plan, receipts)
        progress("writing tables and report")
        if warning := mixture(devices_of(receipts.values())):
            progress.say(warning)
        if finished is None:
            dumped = manifest.model_dump(mode="json", exclude={"run"})
            finished = finalise(store, plan.document, dumped, libraries, _in_order(receipts), poison_images)
            _report(store, progress)
        elif not store.exists(REPORT):
            _report(store, progress)
        return BuildOutcome(finished, _in_order(receipts), done_before, {})


def _report(store: Folder, progress: BuildProgress) -> None:
    """Writes report.html. The build is whole without it, so a failure is told and stops nothing."""
    from pipeline.report.page import write_report

    try:
        write_report(store)
    except Exception as error:
        progress.say(f"{REPORT} could not be written ({type(error).__name__}: {error}); maskmine report tries again")


def _known_poison_images(store: Folder) -> frozenset[str]:
    """Ids of the images that this build found to kill their process."""
    return frozenset(json.loads(store.read_or_none(POISON_IMAGES) or b"[]"))


def whole_units(store: Folder, plan: Plan) -> dict[int, Receipt]:
    """Receipts of the units that are done: of this plan, with the shard and rows there in their full size."""
    key = plan.digest
    shards, rows, there = (store.sizes(folder) for folder in (SHARDS, UNIT_ROWS, RECEIPTS))
    listed = [unit for unit in range(plan.units) if _base(receipt_name(unit)) in there]
    return {
        unit: receipt
        for unit, receipt in read_receipts(store, listed).items()
        if receipt.key == unit_key(key, unit)
        and shards.get(_base(shard_name(unit))) == receipt.shard.bytes
        and rows.get(_base(rows_name(unit))) == receipt.rows.bytes
    }


def _run(
    spec: BuildSpec,
    plan: Plan,
    receipts: dict[int, Receipt],
    poison_images: frozenset[str],
    progress: BuildProgress,
    address: str | None,
    store: Folder,
) -> Failures:
    todo = [unit for unit in range(plan.units) if unit not in receipts]
    if not todo:
        return {}
    for folder in (SHARDS, RECEIPTS, UNIT_ROWS):
        store.remove_parts(folder)
    progress.begin(len(plan.rows), Counts.total(receipt.counts for receipt in receipts.values()))

    def on_receipt(receipt: Receipt) -> None:
        receipts[receipt.unit] = receipt
        progress.unit_done(receipt)

    if spec.manifest.run.runner == "loop":
        from pipeline.runners.loop import run_loop

        return run_loop(spec, todo, poison_images, on_receipt, progress.say)
    from pipeline.runners.ray import run_ray

    known = set(poison_images)

    def on_poison_image(image_id: str) -> None:
        known.add(image_id)
        store.write(POISON_IMAGES, canonical_json(sorted(known)))

    return run_ray(spec, todo, poison_images, on_receipt, progress.say, address, on_poison_image)


def _settle(store: Folder, plan: Plan, libraries: dict[str, str]) -> None:
    """Writes the plan into a new folder; refuses a folder of another plan, or of other library versions.

    Raises:
        UserError: with the differences.
    """
    before = read_plan(store)
    if before is None:
        foreign = [name for name in store.names() if not name.startswith(".")]
        if foreign:
            raise UserError(f"{store.url}: holds what is no build, such as {foreign[0]}; choose an empty folder")
        store.write(LIBRARIES, canonical_json(libraries))
        write_plan(plan, store)
        return
    if changed := differences(before.values(), plan.document.values()):
        raise UserError(
            f"{store.url}: holds a build of something else; choose another folder, or go back to:\n  "
            + "\n  ".join(changed[:20])
        )
    versions = json.loads(store.read_or_none(LIBRARIES) or canonical_json(libraries))
    if changed := differences(versions, libraries):
        raise UserError(
            f"{store.url}: was begun with other libraries, so its bytes could differ from here on; use the old ones, "
            "or another folder:\n  " + "\n  ".join(changed)
        )


def _finished(store: Folder, plan: Plan, receipts: dict[int, Receipt]) -> Lock | None:
    """The lock, if it already speaks of exactly these receipts."""
    try:
        lock = Lock.parse(store.read_or_none(LOCK_FILE) or b"")
    except ValueError:
        return None
    same = lock.units == [LockedUnit.of(receipt) for receipt in _in_order(receipts)]
    return lock if same and lock.plan_digest == plan.digest else None


def read_lock_file(location: str) -> Lock:
    """The lock of another build.

    Raises:
        UserError: there is none, or it is damaged.
    """
    try:
        return Lock.parse(read_file(location))
    except FileNotFoundError as error:
        raise UserError(f"{location}: there is no such file") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{location}: {error}") from error


def _expected_images(name: str, lock: Lock, plan: Plan) -> dict[int, str]:
    if changed := differences(lock.plan.values(), plan.document.values()):
        raise UserError(f"{name}: locks another build:\n  " + "\n  ".join(changed[:20]))
    return {entry.unit: entry.images_root for entry in lock.units}


def _in_order(receipts: dict[int, Receipt]) -> list[Receipt]:
    return [receipts[unit] for unit in sorted(receipts)]


def _base(name: str) -> str:
    return name.rsplit("/", 1)[-1]
