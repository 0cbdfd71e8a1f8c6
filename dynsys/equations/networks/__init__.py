"""Many equations that are sums of terms of few forms: networks of components that were written out term by term."""
