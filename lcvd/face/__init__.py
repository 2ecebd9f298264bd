"""The face as geometry: the canonical mesh, its normals and rasterizers."""
