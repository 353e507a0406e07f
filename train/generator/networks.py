"""The generators that can be trained, behind one interface: loss, proposals, and the folder that is written."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from stages.common import Precision, UserError, hash_files
from stages.proposals import Proposer
from stages.proposals.grid import GridConfig, GridGenerator, load_grid, save_grid
from stages.proposals.grid_masks import GridModel
from stages.proposals.local_model import LocalModel
from stages.proposals.models import GridProposals
from stages.proposals.queries import QueryProposer
from train.generator.config import GeneratorManifest, GridNetwork
from train.generator.grid_loss import GridObjective
from train.generator.samples import MaskBatch
from train.generator.words import WordObjective
from train.loop import Processes


class Trainable(Protocol):
    """A generator in training.

    Attributes:
        module: what is trained.
        digests: SHA-256 of the files that it began with, by name.
        has_idle_parameters: whether some parameters take no part in the loss, so that they never change.
    """

    module: nn.Module
    digests: dict[str, str]
    has_idle_parameters: bool

    def lr_share(self, name: str) -> float:
        """Share of the learning rate that a parameter of the module has."""
        ...

    def loss(self, module: nn.Module, batch: MaskBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """This process's share of the loss, and the parts of the whole; see `GridObjective.loss`."""
        ...

    def proposer(self, module: nn.Module, precision: Precision) -> Proposer:
        """What proposes masks by a module's weights, in evaluation mode."""
        ...

    def save(self, module: nn.Module, folder: Path) -> None:
        """Writes a folder that stages.proposals loads."""
        ...


class TrainableGrid:
    """A grid generator in training.

    Args:
        config: which one.
        manifest: of the training.
        names: of the sets' categories.
        processes: that train together.

    Raises:
        UserError: the folder to begin with cannot be used, or a field of the network's configuration is wrong.
    """

    has_idle_parameters = False

    def __init__(
        self, config: GridNetwork, manifest: GeneratorManifest, names: tuple[str, ...], processes: Processes
    ) -> None:
        self.digests: dict[str, str] = {}
        torch.manual_seed(manifest.seed)
        if config.init is not None:
            local = LocalModel.find(GridProposals(model=config.init), key="network.init")
            module = load_grid(local.folder, local.name, "cpu", "network.init")
            self.digests = hash_files(local.files)
            # Words that it knew would be of a pyramid that is no more.
            module.words = None
            module.config = module.config.model_copy(update={"embedding_width": 0})
        else:
            module = GridGenerator(_grid_config(config, manifest.data.last_side_px))
        words = None
        if manifest.open_vocabulary is not None:
            words = WordObjective(manifest.open_vocabulary, names, processes, manifest.data.names)
            _give_words(module, words)
            self.digests |= {f"clip/{name}": value for name, value in words.digests.items()}
        self.module: nn.Module = module.to(processes.device)
        self.loss = GridObjective(config.masks_per_region, processes, words).loss

    def lr_share(self, name: str) -> float:
        return 1.0

    def proposer(self, module: nn.Module, precision: Precision) -> Proposer:
        assert isinstance(module, GridGenerator)
        config = GridProposals(model="in training")
        return QueryProposer(config, GridModel(module, config, precision))

    def save(self, module: nn.Module, folder: Path) -> None:
        assert isinstance(module, GridGenerator)
        save_grid(module, folder)


def trainable(manifest: GeneratorManifest, names: tuple[str, ...], processes: Processes) -> Trainable:
    """The generator that is configured, on this process's device.

    Args:
        manifest: of the training.
        names: of the sets' categories.
        processes: that train together.

    Raises:
        UserError: its weights cannot be found or used.
    """
    network = manifest.network
    if isinstance(network, GridNetwork):
        return TrainableGrid(network, manifest, names, processes)
    from train.generator.query_networks import TrainableQueries

    return TrainableQueries(network, manifest, names, processes)


def _give_words(network: GridGenerator, words: WordObjective) -> None:
    """A new head for words; with `only`, nothing else is trained."""
    config = network.config
    network.words = words.head(2 * config.neck_width, 4 * config.neck_width)
    network.config = config.model_copy(update={"embedding_width": network.words.space.width})
    if words.config.only:
        network.requires_grad_(False)
        network.words.requires_grad_(True)


def _grid_config(config: GridNetwork, side_px: int) -> GridConfig:
    """That of a network from scratch, which sees photos at the size of the last steps unless it is told otherwise."""
    try:
        return GridConfig.model_validate({"side_px": side_px, **config.config})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"network.config.{place}: {first['msg']}; GridConfig in stages/proposals/grid.py has the fields"
        ) from error
