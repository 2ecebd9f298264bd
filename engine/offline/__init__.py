"""Video files in and out, as fast as the machine allows."""
