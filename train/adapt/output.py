"""What a run leaves: folders of weights, scores, and lines of a log."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages.clip_files import ClipConfig
from stages.common import LOCAL_DIR, Folder, Progress, UserError, local_copy, sha256_hex
from train.adapt.config import AdaptManifest, Validation
from train.clip.checkpoint.folder import save_adapted
from train.clip.model import MaskPromptCLIP
from train.clip.source import base_of
from train.data.config import DataConfig
from train.data.pair_index import PairIndex
from train.evaluate.classify import classify
from train.run_folder import open_log, write_line

Report = Callable[[dict[str, Any]], None]
_LOCK = "build.lock.json"


def describe_data(data: DataConfig, pair_index: PairIndex) -> dict[str, Any]:
    """The data's digests: of the pairs, and of the lock of each build among the shard sets."""
    locks = {}
    for location in (location for each in data.sets for location in each.shards):
        folder = Folder(location.rstrip("/"))
        if folder.exists(_LOCK):
            locks[folder.url.rpartition("/")[2]] = sha256_hex(folder.read(_LOCK))
    counts = {"pairs": len(pair_index), "nouns": len(pair_index.canonicals), "left_out": dict(pair_index.left_out)}
    return {**counts, "listing_sha256": pair_index.digest(), "build_locks_sha256": locks}


class Output:
    """The folder of a run, written by its first process.

    Args:
        out: the folder.
        manifest: of the run.
        provenance: what is known before the first step.
        step: that the run goes on from.
        device: for scores.
        report: called with each line of the log.

    Attributes:
        best: the best score so far and its step; empty before the first.
    """

    def __init__(
        self, out: Path, manifest: AdaptManifest, provenance: dict[str, Any], step: int, device: str, report: Report
    ) -> None:
        self._out, self._manifest, self._device, self._report = out, manifest, device, report
        self._provenance = provenance
        self._base = base_of(manifest.init)
        weights = local_copy(manifest.init.weights) if manifest.init.weights else None
        # A folder that training wrote has configuration and tokenizer; its base may be gone.
        self._files_of = ClipConfig(model=f"{LOCAL_DIR}{weights}") if weights and weights.is_dir() else None
        self.best: dict[str, Any] = {}
        self._log = open_log(out, step)
        self._board: Any = None
        if manifest.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1)

    def line(self, line: dict[str, Any]) -> None:
        """Logs a line; numbers go to TensorBoard, too."""
        write_line(self._log, line)
        for name, value in line.items() if self._board else ():
            if name != "step" and isinstance(value, int | float):
                self._board.add_scalar(name, value, line["step"])
        self._report(line)

    def keep(self, model: MaskPromptCLIP, step: int) -> None:
        """Writes DIR/last."""
        self._save("last", model, {**self._provenance, "step": step})

    def score(self, model: MaskPromptCLIP, step: int, validation: Validation, progress: Progress) -> None:
        """Writes DIR/last, scores it, and writes DIR/best if it is."""
        self.keep(model, step)
        asked = validation.manifest(str(self._out / "last"), self._device)
        scores = classify(asked, lambda done: progress("scoring held-out regions", done))
        value = scores["harmonic"]["top1"] if validation.metric == "harmonic" else scores[validation.metric]
        if value is None:
            raise UserError("validation: the metric has no value; are there regions of seen and of unseen names?")
        self.line({"step": step, "validation": round(value, 4)})
        if not self.best or value > self.best["score"]:
            self.best = {"score": value, "step": step}
            provenance = {**self._provenance, "step": step, "validation": json.loads(json.dumps(scores))}
            self._save("best", model, provenance)

    def _save(self, name: str, model: MaskPromptCLIP, provenance: dict[str, Any]) -> None:
        save_adapted(self._out / name, model, self._base, provenance, files_of=self._files_of)

    def close(self) -> None:
        self._log.close()
        if self._board:
            self._board.close()
