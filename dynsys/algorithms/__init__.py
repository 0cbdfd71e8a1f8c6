"""The algorithms: each a function on a tangent, in a file of its own, with the record that it alone returns.

What they share: `window` is the forward half of those that come back, `checks` what covariant vectors say of themselves.
"""
