"""Turns the `--light` argument of the command line into a Lighting: a preset, a light file, a photo or an HDRI."""

import os
from pathlib import Path

from pydantic import ValidationError

from lcvd.errors import LightError
from lcvd.lighting.presets import preset
from lcvd.types import Lighting
from server.cli.arguments.input_file import read_input
from server.http.uploads import light_of_panorama, light_of_photo
from server.light_message import Light
from server.settings import Settings

MAX_BYTES = 1 << 30  # a panorama of 40 million pixels in 32-bit floats has 640 MB


def lighting_from_argument(text: str) -> Lighting:
    """Returns the light that `text` names: a preset, or a file: .json (docs/protocol.md), .hdr, .exr or a face photo.

    Raises LightError or ImageError with the remedy.
    """
    path = Path(text)
    if not path.suffix or not os.path.exists(path):  # Path.exists raises on a name that is too long
        if path.suffix.lower() in (".json", ".hdr", ".exr", ".jpg", ".jpeg", ".png", ".webp"):
            raise LightError(f"light {text!r}: no such file", "check the path, or name a preset of `relight lights`")
        return preset(text).lighting
    settings = Settings()
    data = read_input(path, MAX_BYTES, LightError)
    if path.suffix.lower() == ".json":
        try:
            return Light.model_validate_json(data).lighting()
        except (ValidationError, ValueError) as error:
            raise LightError(f"light {text!r}: {error}", "docs/protocol.md shows a full light") from None
    if path.suffix.lower() in (".hdr", ".exr"):
        return light_of_panorama(data, path.name, settings)
    return light_of_photo(data, path.name, settings).lighting
