"""`python -m monitor` is `sound-monitor`."""

from monitor.cli import main

if __name__ == "__main__":
    main()
