"""What stands on the disk: the store of an ensemble, what it says of itself, and how it is looked at."""
