"""Fits anything: what an estimator is, its stages, the one training loop, model files, names."""
