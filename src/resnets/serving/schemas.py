"""What requests and answers look like, for the OpenAPI description."""

from typing import Any

from pydantic import BaseModel


class Prediction(BaseModel):
    """A label and the probability the model gives it."""

    label: str
    probability: float


class FilePrediction(BaseModel):
    """One image's ranked predictions, or why there are none."""

    file: str
    predictions: list[Prediction] | None = None
    unsure: bool | None = None
    error: str | None = None


class Predictions(BaseModel):
    """Answers in the order of the images; model is the SHA-256 of its SHA256SUMS."""

    model: str
    results: list[FilePrediction]


class Map(BaseModel):
    """What speaks for one class, as a PNG to lay over the upright image."""

    label: str
    probability: float
    png: str
    deletion: float
    insertion: float


class Explanation(BaseModel):
    """The answer, or the class that was asked for, beside the likeliest other."""

    model: str
    label: str
    probability: float
    method: str
    at: str | None
    maps: list[Map]


class Model(BaseModel):
    """What answers."""

    model: str
    engine: str
    explains: bool
    notes: list[str]
    card: dict[str, Any]


class Problem(BaseModel):
    """What happened, and what mends it."""

    problem: str
    fix: str


class Error(BaseModel):
    """Every answer that is no 2xx."""

    error: Problem


class Health(BaseModel):
    """The state of the service."""

    status: str


def images(*, many: bool) -> dict[str, Any]:
    """The request body of a route that takes images."""
    image = {"type": "string", "format": "binary"}
    content: dict[str, Any] = {
        kind: {"schema": image} for kind in ("image/jpeg", "image/png", "image/webp")
    }
    field = {"type": "array", "items": image, "minItems": 1} if many else image
    content["multipart/form-data"] = {
        "schema": {"type": "object", "required": ["image"], "properties": {"image": field}}
    }
    return {"requestBody": {"required": True, "content": content}}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The statuses that a route may answer with, each an ``Error``."""
    return {status: {"model": Error} for status in statuses}
