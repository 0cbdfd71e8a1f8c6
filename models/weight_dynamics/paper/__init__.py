"""The paper in full: its protocol, what it shows and claims, and what we find.

`protocol` says what is computed, `findings` opens it. `claims_*` hold the statements of the paper against ours:
`losses`, `exponents`, `angles`, `prediction` (with `forecast`, its classifiers, `prediction`, and the `area` under
their curves). `interpretation` asks what the exponents mean. `kinks`, `inference` and `sparse_regression` are measured
anew, in `measures`. `figures`, `figures_prediction` and `kinks_figure` draw, `report` writes all of it down.
"""
