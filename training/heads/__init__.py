"""This package renders synthetic heads: a seed gives a short clip of a stylised talking head under two known lights.

The nano LCVD is trained and measured on them. `head_clip` is the entry point; each file has one part: shape and
expression deform the canonical face, bust closes it to a head on shoulders, skin, hair, eyes and clothes paint one
atlas, pose moves it, light lights it, background is drawn behind it, and render makes the pixels. The package needs no
torch and reads no clock and no files.
"""

from training.heads.clip import HeadClip, head_clip
from training.heads.light import random_lighting

__all__ = ["HeadClip", "head_clip", "random_lighting"]
