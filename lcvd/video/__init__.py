"""A decoded video frame becomes the picture a viewer should see: its shape, its way up and its colours."""
