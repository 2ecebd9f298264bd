"""Synthetic heads: seed → a short clip of a stylised talking head under two known lights, both pictures true.

What the nano LCVD is trained and measured on. `head_clip` is the door; behind it one noun a file: shape and expression
deform the canonical face, bust closes it to a head on shoulders, skin, hair, eyes and clothes paint one atlas, pose
moves it, light lights it, background stands behind, render turns all of it into pixels. No torch, no clock, no files.
"""

from training.heads.clip import HeadClip, head_clip
from training.heads.light import random_lighting

__all__ = ["HeadClip", "head_clip", "random_lighting"]
