"""The losses of expression: squared error, Pearson, covariance, and of pathway scores."""
