"""The page on which a training run is picked by its final loss and examined."""
