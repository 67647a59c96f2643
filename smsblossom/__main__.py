"""`python -m smsblossom` is the command `smsblossom`."""

from smsblossom.cli import main

if __name__ == "__main__":
    main()
