"""Music genre classification on the Free Music Archive: the library behind the stages in ``src/``."""
