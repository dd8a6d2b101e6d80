"""Measures this product beside others doing the same work, in one run on one machine."""
