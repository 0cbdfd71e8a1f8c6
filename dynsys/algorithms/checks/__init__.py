"""What results check about themselves: the derivative, the step, rounding, rest, and vectors."""
