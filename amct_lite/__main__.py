"""`python -m amct_lite`: the command line."""

from amct_lite.cli import main

if __name__ == "__main__":
    main()
