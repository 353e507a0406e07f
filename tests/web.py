"""A web server on loopback that behaves as web servers do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""


class Web:
    """What the server answers, by path, and how often it was asked.

    Attributes:
        answers: path -> its answer to the first, second, ... request; the last one goes for all later ones, too. None
            closes the connection.
        asked: path -> number of requests.
    """

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer | None]] = {}
        self.asked: Counter[str] = Counter()
        self.url = ""
        self._lock = Lock()

    def add(self, path: str, *answers: Answer | None) -> str:
        """Lets a path answer; gives its URL."""
        self.answers[path] = list(answers)
        return self.url + path

    def answer(self, path: str) -> Answer | None:
        with self._lock:
            self.asked[path] += 1
            answers = self.answers.get(path, [(404, {}, b"no such page")])
            return answers[min(self.asked[path], len(answers)) - 1]


def _handler(web: Web) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = web.answer(self.path)
            self.close_connection = True
            if answer is None:
                return
            status, headers, body = answer
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def web_server(port: int = 0) -> Iterator[Web]:
    """A server without a page, on a free port or the given one."""
    web = Web()
    with ThreadingHTTPServer(("127.0.0.1", port), _handler(web)) as server:
        web.url = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield web
        server.shutdown()
