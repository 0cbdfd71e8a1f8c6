"""Networks, equations as sums of terms of few forms, for the compiler: loops over tables."""
