"""Trackers: a picture and a time become a Face."""
