"""Errors that users meet."""


class InputError(Exception):
    """Invalid input from outside: a parameter, an archive, a table.

    The message is one line that names the file, track or parameter, what was expected and what was found.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


def printable(text: str) -> str:
    """Replace characters that could control a terminal; names may come from anybody's data."""
    return "".join(character if character.isprintable() else "?" for character in text)
