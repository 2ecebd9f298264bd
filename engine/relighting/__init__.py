"""The kernels of the CPU engines relight a picture, given a face and a light."""
