"""The machine: optional packages, files that are whole or not there, tables, workers, signals."""
