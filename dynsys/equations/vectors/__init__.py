"""Equations in vectors, with matrices as parameters."""
