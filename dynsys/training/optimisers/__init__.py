"""The derivative of one step of an optimiser of PyTorch, and the state that it carries."""
