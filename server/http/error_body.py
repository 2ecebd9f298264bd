"""The body of an HTTP error, and how OpenAPI tells of it."""

from typing import Any

from pydantic import BaseModel, Field

WRONG_PART = "A part of the request is missing or wrong; the message names it."


class ErrorBody(BaseModel):
    """The body of every HTTP error."""

    code: str = Field(description="Stable, for programs.")
    message: str = Field(description="What is wrong, for people.")
    hint: str = Field(description="What to do about it.")


def errors(**told: str) -> dict[int | str, dict[str, Any]]:
    """Returns OpenAPI's description of error answers: `errors(s401="…", s404="…")`."""
    return {int(name[1:]): {"model": ErrorBody, "description": text} for name, text in told.items()}
