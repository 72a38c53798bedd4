"""Music genre classification on the Free Music Archive: the library behind the stages in ``src/``."""


class InputError(Exception):
    """Something given from outside is wrong: a parameter, an archive, a table.

    The message is one line that names the file, track or parameter, what was expected and what was found.
    """
