"""`python -m nagindex`: the command line, for where the script `nagindex` is not on the path."""

from nagindex.cli import main

if __name__ == "__main__":
    main()
