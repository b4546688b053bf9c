"""Reading users' files into bags, and writing back. Only this room knows AnnData."""
