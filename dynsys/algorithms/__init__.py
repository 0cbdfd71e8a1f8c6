"""The algorithms: each a function on a tangent, in a file of its own, with its result if no other algorithm returns it.

Shared: `window` is the forward half of those that go backward, `checks` are those of covariant vectors.
"""
