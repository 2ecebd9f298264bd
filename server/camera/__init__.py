"""`relight camera`: a local webcam, relit in this process, to a virtual camera, a pipe or a file. No network."""
