"""Backends run LCVD's networks. All that differs between eager, compiled and TensorRT is a Backend of this folder."""
