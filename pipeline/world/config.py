"""Options of the world."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.common import Config

Share = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[float, Field(gt=0.02, le=1.5)]


class WorldConfig(Config):
    """What scenes hold and how they look; ranges are (lowest, highest), both included."""

    kind: Literal["world"] = "world"
    size_px: int = Field(192, ge=64, le=1024, description="Side of the square pictures.")
    single_object: Share = Field(0.25, description="Share of scenes with a single object; true means all.")
    objects: tuple[int, int] = Field((2, 6), description="Objects tried in a scene that is not a single-object scene.")
    object_side: tuple[Side, Side] = Field((0.15, 0.8), description="Longer side of an object / side of the picture.")
    single_object_side: tuple[Side, Side] = Field((0.25, 0.95), description="The same in single-object scenes.")
    min_visible: Share = Field(0.4, description="Least visible share of an object's area, or it is left out.")
    max_rotation_deg: float = Field(25.0, ge=0, le=180, description="Objects are turned by at most this angle.")
    jpeg_quality: tuple[int, int] = Field((70, 95), description="Range of JPEG qualities.")
    captions: int = Field(5, ge=1, le=9, description="Captions for each scene.")
    names: tuple[str, ...] | None = Field(None, description="Object names that scenes may hold; all if not given.")
    mention: tuple[str, ...] | None = Field(
        None, description="Object and stuff names that captions may mention; all if not given. Pictures do not change."
    )

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> Self:
        for key in ("objects", "object_side", "single_object_side", "jpeg_quality"):
            low, high = getattr(self, key)
            if low > high:
                raise ValueError(f"{key}: expected (lowest, highest), got {(low, high)}")
        if not 1 <= self.objects[0] <= self.objects[1] <= 30:
            raise ValueError(f"objects: expected numbers from 1 to 30, got {self.objects}")
        if not 1 <= self.jpeg_quality[0] <= self.jpeg_quality[1] <= 100:
            raise ValueError(f"jpeg_quality: expected numbers from 1 to 100, got {self.jpeg_quality}")
        return self
