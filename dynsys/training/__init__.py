"""A network in training by PyTorch: its curvature, its optimiser's derivative, and a monitor for the user's own loop.

Everything here needs torch, the extra of that name; `dynsys.torch` is the door.
"""
