"""Settings that are chosen anew in each fold, by folds of its training donors."""
