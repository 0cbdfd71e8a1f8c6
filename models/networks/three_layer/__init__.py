"""The network of three layers, its loss, its Jacobian by formula and by SymPy, its kernel."""
