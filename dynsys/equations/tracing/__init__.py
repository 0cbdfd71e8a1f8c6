"""Plain functions write down their own equations: they are called with symbols."""
