"""Closed forms in NumPy: ridge, bilinear ridge, linear heads, mixtures, moments, neighbours."""
