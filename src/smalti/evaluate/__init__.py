"""Honest comparison: splits by donor, metrics by name, trivial baselines, corrected tests."""
