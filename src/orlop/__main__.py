"""`python -m orlop`."""

from .cli.main import main

main()
