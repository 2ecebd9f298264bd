"""The CPU avatar: one portrait moved by the driver's face and lit by the chosen light."""
