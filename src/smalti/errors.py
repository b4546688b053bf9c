"""One error for everything a user can mend, so that the command line can tell it from a bug."""


class InputError(ValueError):
    """Something in the user's data, settings or files is wrong.

    The message names the culprit (file, key, column or bag) and the mend.
    """
