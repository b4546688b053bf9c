"""The sections of a comparison's page, one file each: a function of the table."""
