"""Run the command line with `python -m flexcore`."""

from flexcore.cli import main

if __name__ == "__main__":
    main()
