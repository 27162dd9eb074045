"""Small HTTP servers that stand for engines: one replays recorded answers, one records them, one does harm."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from remote_answers import FOLDER

Body = dict[str, Any] | None
Respond = Callable[[str, Body, "Handler"], None]
"""Answers one request: its path, its JSON body, and the handler to write with."""


class Handler(BaseHTTPRequestHandler):
    """Hands each request to the server's `respond`, and keeps what was asked."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "Server"

    def do_GET(self) -> None:
        self._respond(None)

    def do_POST(self) -> None:
        self._respond(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _respond(self, body: Body) -> None:
        self.server.seen.append((self.path, body, dict(self.headers)))
        try:
            self.server.respond(self.path, body, self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def send(self, status: int, body: bytes, **headers: str) -> None:
        """One answer with its length; `_` in the name of a header stands for `-`."""
        self.send_response(status)
        for name, value in ({"Content_Type": "application/json"} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class Server(ThreadingHTTPServer):
    """A server on a free port of this machine; `seen` holds path, body and headers of each request."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, respond: Respond) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.respond = respond
        self.seen: list[tuple[str, Body, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave are part of the tests."""


@contextmanager
def serving(respond: Respond) -> Iterator[Server]:
    """A server that runs until the end of the block."""
    server = Server(respond)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def _key(path: str, body: Body) -> str:
    return f"{path} {json.dumps(body, sort_keys=True)}"


def replay(name: str) -> Respond:
    """Answers as a real engine answered the very same requests; anything else is 404, as a path it does not have."""
    lines = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    answers = {_key(one["path"], one["body"]): (one["status"], one["answer"]) for one in map(json.loads, lines)}

    def respond(path: str, body: Body, handler: Handler) -> None:
        status, answer = answers.get(
            _key(path, body), (404, json.dumps({"error": f"not recorded: {_key(path, body)}"}))
        )
        handler.send(status, answer.encode())

    return respond


def record(url: str, name: str, names: dict[str, str]) -> Respond:
    """Passes requests on to a real engine and writes them down; `names` are replaced in what is written."""
    file: Path = FOLDER / f"{name}.jsonl"
    file.write_text("", encoding="utf-8")
    lock, written = threading.Lock(), set[str]()

    def respond(path: str, body: Body, handler: Handler) -> None:
        for long, short in names.items():
            body = json.loads(json.dumps(body).replace(f'"{short}"', f'"{long}"'))
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{url}{path}", data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        line = json.dumps({"path": path, "body": body, "status": status, "answer": text}, ensure_ascii=False)
        for long, short in names.items():
            line, text = line.replace(long, short), text.replace(long, short)
        with lock, file.open("a", encoding="utf-8") as out:
            if _key(path, body) not in written:
                out.write(f"{line}\n")
                written.add(_key(path, body))
        handler.send(status, text.encode())

    return respond
