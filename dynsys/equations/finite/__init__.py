"""Forms whose derivatives do not overflow, nor divide 0 by 0, where the function does not."""
