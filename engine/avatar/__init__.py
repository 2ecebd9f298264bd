"""The CPU avatar moves one portrait by the driver's face and lights it by the chosen light."""
