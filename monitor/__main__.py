"""Where the program begins: `python -m monitor` is `sound-monitor`."""

from monitor import interrupt


def main() -> None:
    """Run the command line; Ctrl-C is seen to before anything else is imported, and to the end."""
    interrupt.end_at_once()
    from monitor import cli  # noqa: PLC0415

    try:
        cli.main()
    finally:
        interrupt.end_at_once()


if __name__ == "__main__":
    main()
