"""What becomes of equations: read as text, differentiated by SymPy, written as source for NumPy and the compiler."""
