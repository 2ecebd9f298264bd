"""LCVD's model and geometry: pure functions and modules; no threads, clock, sockets or environment.

Conventions, used everywhere in this project:

- Axes: +x right in the picture, +y up, +z to the viewer. A light's direction points from the face *to* the light,
  so (-1, 0, 0) lights the left side of the picture. Pixel coordinates alone have y down.
- RGB uint8 [H,W,3] at the edge, float [-1,1] inside the model. Light and shading are linear, not sRGB.
- B T C H W pixels; h w latents (H/8); K = 9 SH coefficients (order l, m = 00, 1-1, 10, 11, 2-2 … 22); V vertices;
  M triangles; L landmarks.
- Units in the name: `_s _ms _px _hz _deg _k`; matrices read `dst_from_src`; functions `sh_from_equirect`.
- Public functions check rank and size on entry (`lcvd.errors.ShapeError`) and print what came.
"""
