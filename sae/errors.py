"""The one exception class that stands for a mistake the user can mend."""


class UserError(Exception):
    """Something the user can put right: a setting, an input file, a folder, a full disk.

    The text is one sentence in three parts: what was found, what was expected, what to do. It never holds patient
    text. The command line prints it without a traceback and exits with code 2; every other exception is a failure
    of ours and exits with code 1.
    """
