"""What moves, told in short, so that a run is continued by what it was begun with: `told`, of `code`; `sameness`."""
