"""A picture, a face and a light → the relit picture: the kernels of the CPU engines."""
