"""A real server on 127.0.0.1, with what goes wrong on real ones."""

import contextlib
import functools
import http.server
import threading


class Site:
    """What a server holds and how it behaves.

    Attributes:
        files: path -> content.
        cut: answers end after so many bytes, the first so many times.
        ranges: whether it goes on from where it is asked to.
        failures: answers of 503 before the first good one.
        asked: (path, Range header) of each request.
    """

    def __init__(self, files, *, cut=(), ranges=True, failures=0):
        self.files, self.cut, self.ranges, self.failures = files, list(cut), ranges, failures
        self.asked, self.url = [], ""


class Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, site, *arguments):
        self.site = site
        super().__init__(*arguments)

    def do_GET(self):
        site, path = self.site, self.path
        wanted = self.headers.get("Range")
        site.asked.append((path, wanted))
        if site.failures:
            site.failures -= 1
            self.send_error(503)
        elif path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", path.removeprefix("/moved"))
            self.end_headers()
        elif path not in site.files:
            self.send_error(404)
        else:
            self._send(site.files[path], wanted)

    def _send(self, content, wanted):
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.site.ranges else 0
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        room = self.site.cut.pop(0) if self.site.cut else None
        self.wfile.write(content[start:][:room])

    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def serving(site):
    """The site, with its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, site))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
