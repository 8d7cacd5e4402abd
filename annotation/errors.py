"""Errors whose message is one line for the person who can mend it."""


class StudyError(Exception):
    """Something asked of a study is not possible; the message says what, where and what to do."""


class InputError(StudyError):
    """A file or an option given by the user is wrong; the message names file, row and column where there are any."""
