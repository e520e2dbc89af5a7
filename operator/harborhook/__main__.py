"""`python -m harborhook` is the console command."""

from harborhook.cli import main

main()
