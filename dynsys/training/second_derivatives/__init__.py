"""Whether a model has second derivatives: attention, what is refused and why, what is dropped in silence."""
