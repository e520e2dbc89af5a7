"""What `make dist` makes: the files of a release, the same bytes from the same commit."""
