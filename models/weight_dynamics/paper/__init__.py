"""The paper in full: its protocol, what it shows and claims, and what we find.

`protocol` says what is computed, `prediction`, `kinks` and `inference` what is asked of it, `figures` draws the paper's
figures, `claims` holds its statements against ours, `report` writes all of it down.
"""
