"""The exceptions that the command line turns into one sentence."""


class UserError(Exception):
    """Something the user can put right: a setting, an input file, a folder, a full disk.

    The text is one sentence in three parts: what was found, what was expected, what to do. It never holds patient
    text. The command line prints it without a traceback and exits with code 2; every other exception is a failure
    of ours and exits with code 1.
    """


class JobFailed(Exception):  # noqa: N818 - it reads "raise JobFailed"
    """Some jobs failed for good, by no mistake of the user's; the others are done. The text names the first one's log."""
