"""This package renders heads on a scanned identity space (ICT-FaceKit) with the truth that a network learns.

`facekit` reads the kit, `person` draws one identity with hair, clothes and glasses, `room` draws its light, and
`render` makes a picture with true visibility and, for each pixel, normal, depth, albedo and the light that fell on it.
The kit's file is not part of the project: its path is given. The package reads no clock and needs no torch.
"""
