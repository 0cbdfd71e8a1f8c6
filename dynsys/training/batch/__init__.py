"""A training as a pure function: model, loss, data and random numbers, for batch mode."""
