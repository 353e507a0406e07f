"""Both stages of a published OVSeg file, as the parts that a segmenter is made of."""

from __future__ import annotations

from stages.common import local_path, resolve_precision
from stages.proposals import OvsegProposals
from stages.proposals.ovseg import OvsegGenerator
from stages.proposals.ovseg_file import OvsegFile
from train.clip.ovseg import clip_of
from train.segmenter.config import SegmenterConfig
from train.segmenter.masks import MaskSource
from train.segmenter.naming import Namer


def load_ovseg_parts(config: SegmenterConfig, proposer: OvsegProposals, device: str) -> tuple[MaskSource, Namer]:
    """The generator, and the CLIP that names: the file's own where the configuration has none.

    Args:
        config: of the segmenter.
        proposer: its section of that name.
        device: ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UserError: the file cannot be read, is no OVSeg, or the other CLIP cannot be loaded.
    """
    with local_path(proposer.model) as path:
        return ovseg_parts(config, OvsegFile.read(path), device)


def ovseg_parts(config: SegmenterConfig, file: OvsegFile, device: str) -> tuple[MaskSource, Namer]:
    """As `load_ovseg_parts`, of a checkpoint that is there."""
    generator = OvsegGenerator.of(file, device, resolve_precision(config.precision, device))
    namer = Namer.of(config, clip_of(file, device), device) if config.clip is None else Namer.load(config, device)
    return MaskSource(config, generator), namer
