"""A step of a flow and its exact tangent: Runge-Kutta, adaptive, symplectic and implicit methods, and optimisers.

The contract is in `stepper`. Each other file is a method, or a few of one kind.
"""
