"""What is kept on disk: the store of an ensemble, its description, and tools to inspect it."""
