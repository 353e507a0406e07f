"""Configuration of the proposers that run a published model or take masks from the input, and a model's files.

Apart from the proposers: reading a manifest and hashing files loads neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stages.common import (
    CONFIG,
    Config,
    Location,
    ModelLocation,
    SampleError,
    UserError,
    local_path,
    read_model_json,
    resolve_device,
    resolve_folder,
    told_as,
    transformers_files,
)

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class ModelConfig(Config):
    """A model in the layout that transformers saves: config.json, preprocessor_config.json, safetensors.

    Attributes:
        model_types: values of config.json's ``model_type`` that this kind can run.
        has_processor: whether its preprocessing is a file of its own.
        kind: which proposer.
        model: a local folder, or a hub id such as ``facebook/mask2former-swin-large-coco-panoptic``.
        revision: commit of a hub id; pin it, so that a later push cannot change the build. Ignored for a folder.
    """

    model_types: ClassVar[tuple[str, ...]]
    has_processor: ClassVar[bool] = True
    kind: str
    model: ModelLocation = Field(min_length=1)
    revision: str | None = Field(default=None, min_length=1)


class QueryRules(Config):
    """Keys that all generators with one soft mask per query share.

    Attributes:
        kind: which proposer.
        mask_threshold: a pixel belongs to the mask where its probability is above this.
        weigh_by_mask_confidence: multiply the objectness by the mean probability inside the mask.
    """

    kind: str
    mask_threshold: float = Field(default=0.5, gt=0.0, lt=1.0)
    weigh_by_mask_confidence: bool = False


class QueryProposals(QueryRules, ModelConfig):
    """Keys of transformers' models with one mask per query."""


class MaskFormerProposals(QueryProposals):
    """MaskFormer (arXiv 2107.06278); the threshold is the one OVSeg (arXiv 2210.04150) cuts its regions with."""

    model_types = ("maskformer",)
    kind: Literal["maskformer"] = "maskformer"
    mask_threshold: float = Field(default=0.4, gt=0.0, lt=1.0)


class Mask2FormerProposals(QueryProposals):
    """Mask2Former (arXiv 2112.01527)."""

    model_types = ("mask2former",)
    kind: Literal["mask2former"] = "mask2former"


class OneFormerProposals(QueryProposals):
    """OneFormer (arXiv 2211.06220).

    Attributes:
        task: what the task token asks of the model.
    """

    model_types = ("oneformer",)
    kind: Literal["oneformer"] = "oneformer"
    task: Literal["panoptic", "semantic", "instance"] = "panoptic"


class EomtProposals(QueryProposals):
    """EoMT (arXiv 2503.19108), with a DINOv2 or a DINOv3 encoder."""

    model_types = ("eomt", "eomt_dinov3")
    kind: Literal["eomt"] = "eomt"


class GridProposals(QueryProposals):
    """A small generator of our own, as ``maskmine train`` with ``kind: generator`` makes it: docs/generator.md.

    Attributes:
        min_score: cells with a lower score are not looked at.
        nms_iou: of two masks with a higher IoU, the one with the lower score is dropped.
        max_proposals: at most so many masks of a photo.
    """

    model_types = ("maskmine_grid",)
    has_processor = False
    kind: Literal["grid"] = "grid"
    min_score: Fraction = 0.05
    nms_iou: Fraction = 0.6
    max_proposals: int = Field(default=100, ge=1)


class OvsegProposals(QueryRules):
    """The mask generator of a published OVSeg file (arXiv 2210.04150); every query is a proposal, as published.

    Attributes:
        model: the file, or the folder that `maskmine export` converts it to; a path as a folder's is, or a URL.
        mask_threshold: the published one of Swin-B; R101c has 0.5.
    """

    kind: Literal["ovseg"] = "ovseg"
    model: ModelLocation = Field(min_length=1)
    mask_threshold: float = Field(default=0.4, gt=0.0, lt=1.0)

    def files(self) -> list[Path]:
        """The local files that the masks depend on, sorted by name.

        Raises:
            UserError: there is no such file or folder, or the folder is another's.
        """
        with local_path(self.model) as path:
            files = sorted(path.glob("ovseg.*")) if path.is_dir() else [path]
            if not files or not all(file.is_file() for file in files):
                raise UserError(
                    f"{_KEY}: there is no OVSeg at {path}; expected its file, or a folder that "
                    "`maskmine export --layout ovseg_folder` wrote. A path in a manifest begins with ./, ../, ~/ or /"
                )
            return files


class SamProposals(ModelConfig):
    """SAM and its relatives, asked with a grid of points (SAM, arXiv 2304.02643, appendix B).

    Attributes:
        points_per_side: the grid has this many points along each side of the photo and of every crop.
        points_per_batch: points that the mask decoder takes at once; lower it when memory is short.
        pred_iou_thresh: masks with a lower predicted IoU are dropped.
        stability_score_thresh: masks that change more than this when the cut-off moves are dropped.
        crops_n_layers: 0 looks at the whole photo only; layer i adds 2^i x 2^i overlapping crops.
        crop_overlap_ratio: overlap of the first layer's crops, as a fraction of the photo's shorter side.
        crops_nms_thresh: of two masks whose boxes overlap more (IoU), the one with the lower score is dropped.
    """

    model_types = (
        "sam",
        "sam_hq",
        "sam2",
        "sam2_video",
        "sam3_tracker",
        "sam3_video",
        "edgetam",
        "edgetam_video",
    )
    kind: Literal["sam"] = "sam"
    points_per_side: int = Field(default=32, ge=1, le=256)
    points_per_batch: int = Field(default=64, ge=1)
    pred_iou_thresh: Fraction = 0.88
    stability_score_thresh: Fraction = 0.95
    crops_n_layers: int = Field(default=0, ge=0, le=3)
    crop_overlap_ratio: float = Field(default=512 / 1500, ge=0.0, lt=1.0)
    crops_nms_thresh: Fraction = 0.7


class GroundTruthProposals(Config):
    """The masks that the source's own annotations have.

    Attributes:
        include_crowd: take COCO's crowd masks, too: each covers a group of things.
    """

    kind: Literal["ground_truth"] = "ground_truth"
    include_crowd: bool = False


class PrecomputedProposals(Config):
    """Masks that were computed elsewhere.

    Attributes:
        path: COCO results as JSON or Parquet, local or an fsspec URL; see docs/proposals-models.md.
    """

    kind: Literal["precomputed"] = "precomputed"
    path: Location = Field(min_length=1)


_KEY = "proposer.model"
_SLIVER_SIDE_PX = 16
_SLIVER_RATIO = 16


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A proposer's model on disk: found, of the right kind, complete.

    Attributes:
        folder: where its files lie.
        name: of the folder in messages: its URL, if it is a copy.
        files: those that the masks depend on, sorted.
        key: of the manifest, for messages.
    """

    folder: Path
    name: str
    files: list[Path]
    key: str = _KEY

    @classmethod
    def find(cls, config: ModelConfig, key: str = _KEY) -> Self:
        """The model that is configured; a hub id is downloaded.

        Args:
            config: which.
            key: of the manifest, for messages.

        Raises:
            UserError: a file is missing, the folder holds another kind of model, or the hub cannot be reached.
        """
        folder = resolve_folder(config.model, config.revision, key)
        name = config.model if "://" in config.model else str(folder)
        with told_as(config.model, folder):
            files = transformers_files(folder, key, config.has_processor)
            found = read_model_json(folder / CONFIG, key).get("model_type")
        if found not in config.model_types:
            raise UserError(
                f"{key}: {name}/{CONFIG} has model_type {found!r}, and kind "
                f"{config.kind!r} expects {' or '.join(config.model_types)}; change one of them"
            )
        return cls(folder, name, files, key)

    def load(self, auto_class: type[Any], device: str) -> Any:  # noqa: ANN401
        """The model, in evaluation mode and float32, on `device`.

        Args:
            auto_class: one of transformers' AutoModel classes.
            device: ``cpu``, ``cuda`` or ``cuda:N``.

        Raises:
            UserError: there is no such device, or the weights cannot be read or leave a part of the model without
                values.
        """
        import torch

        device = resolve_device(device)
        # transformers reads safetensors into float32 and never unpickles with these arguments.
        try:
            model, info = auto_class.from_pretrained(
                self.folder, use_safetensors=True, local_files_only=True, dtype=torch.float32, output_loading_info=True
            )
        except Exception as error:  # of many kinds: OSError, ValueError, RuntimeError, SafetensorError
            raise UserError(f"{self.key}: {self.name} cannot be loaded: {error}") from error
        # transformers fills missing weights with random numbers and goes on. Losses are no part of proposing.
        missing = sorted(name for name in info["missing_keys"] if not name.startswith("criterion."))
        if missing:
            raise UserError(
                f"{self.key}: the weights in {self.name} lack {len(missing)} tensors of the model, {missing[0]} first; "
                f"expected a complete checkpoint of the architecture in {CONFIG}"
            )
        return model.eval().to(device)

    def image_processor(self, **options: object) -> Any:  # noqa: ANN401
        """The model's own preprocessing; `options` override keys of its JSON.

        Raises:
            UserError: the JSON describes no image processor.
        """
        from transformers import AutoImageProcessor

        load: Any = AutoImageProcessor.from_pretrained
        try:
            return load(self.folder, local_files_only=True, **options)
        except Exception as error:  # of many kinds: OSError, ValueError, TypeError, KeyError
            raise UserError(f"{self.key}: {self.name} has no usable image processor: {error}") from error


@contextmanager
def preprocessing_of(image: NDArray[np.uint8]) -> Iterator[None]:
    """Lets image processors fail on slivers, [H, W, 3], which they shrink to nothing; on other images they are wrong.

    Raises:
        SampleError: ``unusable_shape``.
    """
    try:
        yield
    except (ValueError, RuntimeError, ZeroDivisionError) as error:
        short_px, long_px = sorted(image.shape[:2])
        if short_px >= _SLIVER_SIDE_PX and long_px < _SLIVER_RATIO * short_px:
            raise
        raise SampleError(
            "unusable_shape", f"the model's preprocessing refuses {image.shape[0]} x {image.shape[1]} px: {error}"
        ) from error
