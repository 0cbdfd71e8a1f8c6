"""A pass over a trajectory: its state, the orthonormal frames it carries, and what becomes of its members."""
