"""The `--light` argument of the command line becomes a Lighting: a preset, a light file, a photo or an HDRI."""

import json
from pathlib import Path

from lcvd.errors import LightError
from lcvd.types import Lighting


def lighting_from_argument(text: str) -> Lighting:
    """`text` names a preset (`relight lights`), or a file: .json (docs/protocol.md), .hdr, .exr or a face photo.

    Raises LightError or ImageError with the remedy.
    """
    from lcvd.presets import preset

    path = Path(text)
    if not path.suffix or not path.exists():
        if path.suffix.lower() in (".json", ".hdr", ".exr", ".jpg", ".jpeg", ".png", ".webp"):
            raise LightError(f"light {text!r}: no such file", "check the path, or name a preset of `relight lights`")
        return preset(text)
    if path.suffix.lower() == ".json":
        from pydantic import ValidationError

        from server.protocol import LightingModel

        try:
            return LightingModel.model_validate(json.loads(path.read_text())).to_lighting()
        except (ValidationError, ValueError) as error:
            raise LightError(f"light {text!r}: {error}", "docs/protocol.md shows a full light") from None
    data = path.read_bytes()
    if path.suffix.lower() in (".hdr", ".exr"):
        from server.uploads import lighting_from_hdri

        return lighting_from_hdri(data, path.name)
    from server.uploads import lighting_from_photo

    return lighting_from_photo(data, path.name)[0]
