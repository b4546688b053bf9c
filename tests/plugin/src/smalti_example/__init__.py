"""Methods for smalti in a package of their own."""
