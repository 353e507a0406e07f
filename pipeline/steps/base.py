"""What a step is. A step knows neither the cache nor the clock: the adapter that runs it keeps those."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from pipeline.manifest import StageName
from pipeline.unit import BuildSpec, ImageWork, UnitWork
from stages.common import Precision, SampleError, device_class, resolve_device, resolve_precision

Content = TypeVar("Content")
Result = TypeVar("Result")
_PASSING = (MemoryError, OSError, TimeoutError)


class Step(ABC):
    """What all steps have.

    Attributes:
        stage: its name in manifests, receipts and quarantine rows.
        computes_on: what its model runs on, e.g. ``cpu AVX2 fp32``; empty without a model.
    """

    stage: ClassVar[StageName]
    computes_on: str = ""


class PlainStep(Step):
    """A step that is done anew each time."""

    @abstractmethod
    def run(self, unit: UnitWork) -> None:
        """Changes the unit in place."""


@dataclass(frozen=True, slots=True)
class Task(Generic[Content]):
    """What is computed at once, and is one entry of the cache.

    Attributes:
        content: what to compute from.
        size: captions, images or regions in it, for the statistics.
        image: the image that an error quarantines; without one, an error is the unit's.
    """

    content: Content
    size: int
    image: ImageWork | None = None


class CachedStep(Step, Generic[Content, Result]):
    """A step that is costly, and whose results depend on nothing but what `identity` and `key` name.

    Attributes:
        kind: of its entries in the cache.
        statistics: names of the numbers computed and found in the cache.
    """

    kind: ClassVar[str]
    statistics: ClassVar[tuple[str, str]]

    @property
    @abstractmethod
    def identity(self) -> list[Any]:
        """All that every result depends on beside libraries and code, as JSON values: configuration, models, device."""

    @abstractmethod
    def tasks(self, unit: UnitWork) -> Iterator[Task[Content]]:
        """What there is to compute for a unit; bad captions are quarantined here."""

    @abstractmethod
    def key(self, content: Content) -> list[Any]:
        """What one result depends on, as JSON values."""

    @abstractmethod
    def compute(self, content: Content) -> Result:
        """The work itself; loads the model the first time."""

    @abstractmethod
    def encode(self, result: Result) -> bytes:
        """A result as an entry of the cache."""

    @abstractmethod
    def decode(self, entry: bytes) -> Result:
        """The result back, equal to what was encoded."""

    @abstractmethod
    def apply(self, content: Content, result: Result) -> None:
        """Writes a result into the unit's images."""

    def finish(self, unit: UnitWork) -> None:
        """What is left to do when all tasks are done."""
        return


@contextmanager
def each_image(unit: UnitWork, image: ImageWork, stage: str) -> Iterator[None]:
    """Within it, an error of one image quarantines that image and nothing else.

    What may pass by itself (memory, storage) is raised, for the runner to try the unit again.
    """
    try:
        yield
    except SampleError as error:
        unit.quarantine_image(image, stage, error.reason, error.message)
    except _PASSING:
        raise
    except Exception as error:
        if "out of memory" in str(error).lower():
            raise
        message = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        unit.quarantine_image(image, stage, "unexpected_error", message)


@dataclass(frozen=True, slots=True)
class Computer:
    """What a model of this process runs on; floats may depend on all of it."""

    device: str
    precision: Precision
    threads: int

    @classmethod
    def of(cls, spec: BuildSpec) -> Computer:
        """That which the manifest asks for.

        Raises:
            UserError: a GPU is asked for, and there is none.
        """
        asked = spec.manifest.compute
        device = resolve_device(asked.device, "compute.device")
        return cls(device, resolve_precision(asked.precision, device), asked.threads)

    def __str__(self) -> str:
        return f"{device_class(self.device)} {self.precision}"

    @property
    def identity(self) -> list[Any]:
        """As JSON values."""
        return [device_class(self.device), self.precision, self.threads]
