"""Processes to kill, without waiting for Python to start: one that has imported everything forks them."""

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

HERE = Path(__file__).parent


class ForkServer:
    """Runs functions of test modules as processes of their own; a context manager."""

    def __enter__(self) -> Self:
        environment = {**os.environ, "PYTHONPATH": f"{HERE.parent}:{HERE}"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._server = subprocess.Popen([sys.executable, __file__], text=True, env=environment, **pipes)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def start(self, function: str, *arguments: object, output: Path) -> int:
        """Start `module:name` with its standard output in a file; return the process id."""
        output.write_bytes(b"")
        request = {"function": function, "arguments": list(map(str, arguments)), "output": str(output)}
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())


def is_alive(pid: int) -> bool:
    """Tell whether a process that the server started still runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _serve() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children need no burial
    for line in sys.stdin:
        request = json.loads(line)
        module, name = request["function"].split(":")
        function = getattr(importlib.import_module(module), name)
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(request["output"], os.O_WRONLY | os.O_APPEND), 1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            function(*request["arguments"])
            os._exit(0)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
