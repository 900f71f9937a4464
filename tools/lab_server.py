"""Run notebooks as a reader on Binder does: through a JupyterLab server, with one thread on one core."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from notebooks import CellFailed, Memory
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import websocket_connect

START_SECONDS = 60
CELL_SECONDS = 300
LOOK_SECONDS = 0.5
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Measured:
    """What running one notebook took.

    Parameters
    ----------
    name : str
        The notebook's path below the repository.
    seconds : float
        From the start of the kernel to the end of the last cell.
    first : float
        From the start of the kernel to the end of the first code cell, in seconds.
    mib : float
        Peak memory of the server, the kernel and their children, in MiB.
    problem : str
        What went wrong; empty if nothing did.
    """

    name: str
    seconds: float
    first: float
    mib: float
    problem: str = ""


class Lab:
    """A JupyterLab server of its own.

    Parameters
    ----------
    command : sequence of str
        What starts it, such as ``["binder/start", "jupyter-lab"]``; options are added.
    folder : Path
        The copy of the repository that the server shows.
    environment : mapping
        The whole environment of the server and its kernels.
    core : int, optional
        The one processor core that it may use.
    limit_mib : float
        The memory that the server and its kernels may use together.
    """

    def __init__(
        self,
        command: list[str],
        folder: Path,
        environment: Mapping[str, str],
        *,
        core: int | None = None,
        limit_mib: float,
    ) -> None:
        self._command, self._folder, self._core, self._limit = command, folder, core, limit_mib
        self._runtime = Path(environment["HOME"]) / f"runtime-{uuid.uuid4().hex[:8]}"
        self._environment = {**environment, "JUPYTER_RUNTIME_DIR": str(self._runtime)}
        self._token = uuid.uuid4().hex
        self._process: subprocess.Popen | None = None
        self._url = ""

    async def __aenter__(self) -> "Lab":
        """Start the server and wait until it answers."""
        options = [
            "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0", "--log-level=ERROR",
            f"--ServerApp.root_dir={self._folder}", f"--IdentityProvider.token={self._token}",
        ]  # fmt: skip
        self._runtime.mkdir(mode=0o700)
        log = (self._runtime / "log").open("wb")
        pin = {} if self._core is None else {"preexec_fn": lambda: os.sched_setaffinity(0, {self._core})}
        with log:
            self._process = subprocess.Popen(
                [*self._command, *options], cwd=self._folder, env=self._environment, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True, **pin,
            )  # fmt: skip
        try:
            await self._wait()
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        """End the server and its kernels."""
        self._end()

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # what the server left behind
        self._process.wait()

    async def _wait(self) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            for path in self._runtime.glob("jpserver-*.json"):
                with contextlib.suppress(ValueError, KeyError, OSError):  # half written, or not listening yet
                    self._url = json.loads(path.read_text(encoding="utf-8"))["url"]
                    await self._ask("GET", "api/status")
                    return
            await asyncio.sleep(0.1)
        said = (self._runtime / "log").read_text(encoding="utf-8", errors="replace")
        raise RuntimeError(f"the JupyterLab server did not start:\n{said[-2000:]}")

    async def _ask(self, method: str, path: str, body: object = None) -> object:
        """Return what the server answers to a request of its REST interface."""
        request = HTTPRequest(
            self._url + path,
            method=method,
            headers={"Authorization": f"token {self._token}"},
            body=None if body is None else json.dumps(body),
            request_timeout=START_SECONDS,
        )
        answer = await AsyncHTTPClient(max_body_size=2**28).fetch(request)
        return json.loads(answer.body) if answer.body else None

    async def run(self, name: str, *, may_fail: Collection[int] = ()) -> Measured:
        """Run a notebook from a fresh kernel, as a reader does who opens it and runs all cells.

        Parameters
        ----------
        name : str
            The path below the folder.
        may_fail : collection of int
            The code cells, counted from 0, that may raise an error.

        Returns
        -------
        Measured
            With the first problem, behind which no cell was run.
        """  # noqa: DOC501 (what is raised is caught)
        memory, problem, first = Memory(), "", 0.0
        memory.pid = self._process.pid
        with memory.watching():
            model = await self._ask("GET", f"api/contents/{quote(name)}?content=1")
            cells = [cell for cell in model["content"]["cells"] if cell["cell_type"] == "code"]
            begin = time.perf_counter()
            wanted = {"path": name, "name": "", "type": "notebook", "kernel": {"name": "python3"}}
            session = await self._ask("POST", "api/sessions", wanted)
            try:
                async with _Kernel(self._url, self._token, session["kernel"]["id"]) as kernel:
                    for index, cell in enumerate(cells):
                        error = await kernel.execute("".join(cell["source"]), self._guard(memory))
                        first = first or time.perf_counter() - begin
                        if error and index not in may_fail:
                            raise CellFailed(f"cell {cell.get('id', index)!r}: {error}")
            except CellFailed as reason:
                problem = str(reason)
            seconds = time.perf_counter() - begin
            memory.sample()
            await self._ask("DELETE", f"api/sessions/{session['id']}")
        return Measured(name, seconds, first, memory.mib, problem or self._complaint(memory))

    def _complaint(self, memory: Memory) -> str:
        over = memory.mib > self._limit
        return f"used {memory.mib:.0f} MiB, more than the {self._limit:.0f} MiB that Binder grants" * over

    def _guard(self, memory: Memory) -> Callable[[], None]:
        """Return what looks at the memory while a cell runs."""

        def look() -> None:
            if complaint := self._complaint(memory):
                raise CellFailed(complaint)

        return look


class _Kernel:
    """The connection to a kernel through the server's websocket."""

    def __init__(self, url: str, token: str, kernel: str) -> None:
        address = re.sub(r"^http", "ws", url) + f"api/kernels/{kernel}/channels"
        self._request = HTTPRequest(address, headers={"Authorization": f"token {token}"})
        self._session = uuid.uuid4().hex

    async def __aenter__(self) -> "_Kernel":
        self._socket = await websocket_connect(self._request, max_message_size=2**28)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._socket.close()

    async def execute(self, code: str, look: Callable[[], None]) -> str:
        """Run a cell to its end and return its error, or ""; ``look`` is called again and again meanwhile.

        Raises
        ------
        CellFailed
            If the kernel dies or takes too long.
        """
        ours = uuid.uuid4().hex
        header = {
            "msg_id": ours, "msg_type": "execute_request", "username": "reader", "session": self._session,
            "date": datetime.now(UTC).isoformat(), "version": "5.3",
        }  # fmt: skip
        content = {
            "code": code, "silent": False, "store_history": True, "user_expressions": {},
            "allow_stdin": False, "stop_on_error": True,
        }  # fmt: skip
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        await self._socket.write_message(json.dumps({**message, "channel": "shell", "buffers": []}))
        error, waits_for = "", {"execute_reply", "idle"}
        end = time.monotonic() + CELL_SECONDS
        coming = asyncio.ensure_future(self._socket.read_message())
        try:
            while waits_for:
                done, _ = await asyncio.wait({coming}, timeout=LOOK_SECONDS)
                look()
                if time.monotonic() > end:
                    raise CellFailed(f"ran longer than {CELL_SECONDS} s")
                if not done:
                    continue
                if (raw := coming.result()) is None:
                    raise CellFailed("the server closed the connection")
                answer = json.loads(raw)
                state = answer["content"].get("execution_state")
                if state in ("restarting", "dead"):
                    raise CellFailed("the kernel died")
                if answer["parent_header"].get("msg_id") == ours:
                    if answer["msg_type"] == "execute_reply" and answer["content"]["status"] != "ok":
                        said = answer["content"]
                        error = f"{said.get('ename', said['status'])}: {said.get('evalue', '')}"
                        error = COLOUR.sub("", error)[:600]
                    waits_for -= {answer["msg_type"], state}
                if waits_for:
                    coming = asyncio.ensure_future(self._socket.read_message())
        finally:
            coming.cancel()
        return error
