"""Where LCVD's networks run. All that differs between eager, compiled and TensorRT is a Backend of this folder."""
