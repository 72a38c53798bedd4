"""Music genre classification on the Free Music Archive: the library behind the stages in ``src/``."""


class InputError(Exception):
    """Something given from outside is wrong: a parameter, an archive, a table.

    The message is one line that names the file, track or parameter, what was expected and what was found.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


def printable(text: str) -> str:
    """A name from somebody's data or file system, without what would move a terminal's cursor."""
    return "".join(character if character.isprintable() else "?" for character in text)
