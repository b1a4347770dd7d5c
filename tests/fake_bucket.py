"""A bucket of Google Cloud Storage on this machine, for one that only reads."""

from collections.abc import Iterator
import contextlib
import http.server
import json
import pathlib
import re
import threading
import urllib.parse


@contextlib.contextmanager
def serve(folder: pathlib.Path) -> Iterator[str]:
  """Serves a folder's files as every bucket's; gives the server's address.

  Knows two requests: a list of names by prefix, and a file or a range of it.
  """

  class Handler(http.server.BaseHTTPRequestHandler):
    # Keeps connections.
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
      url = urllib.parse.urlsplit(self.path)
      query = urllib.parse.parse_qs(url.query)
      match = re.fullmatch(r'/storage/v1/b/[^/]+/o(?:/(.+))?', url.path)
      if match[1] is None:
        self._answer(200, _list(folder, **{k: v[0] for k, v in query.items()}))
        return
      file = folder / urllib.parse.unquote(match[1])
      if not file.is_file():
        self._answer(404, b'{}')
        return
      content = file.read_bytes()
      asked = re.fullmatch(r'bytes=(\d+)-(\d*)', self.headers.get('Range', ''))
      if asked is None:
        self._answer(200, content)
        return
      first, last = int(asked[1]), int(asked[2] or len(content) - 1)
      last = min(last, len(content) - 1)
      self._answer(
        206,
        content[first : last + 1],
        {'Content-Range': f'bytes {first}-{last}/{len(content)}'},
      )

    def _answer(self, status, content, headers=()):
      self.send_response(status)
      self.send_header('Content-Length', str(len(content)))
      self.send_header('x-goog-generation', '1')
      for name, value in dict(headers).items():
        self.send_header(name, value)
      self.end_headers()
      self.wfile.write(content)

    def log_message(self, *_):
      pass

  class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    # All tensors are opened at once.
    request_queue_size = 128

  with Server(('127.0.0.1', 0), Handler) as server:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
      yield f'http://127.0.0.1:{server.server_port}'
    finally:
      server.shutdown()
      thread.join()


def _list(
  folder: pathlib.Path,
  prefix: str = '',
  startOffset: str = '',
  endOffset: str = '\uffff',
  **_: str,
) -> bytes:
  names = (
    str(file.relative_to(folder))
    for file in sorted(folder.rglob('*'))
    if file.is_file()
  )
  return json.dumps(
    {
      'items': [
        {'name': name, 'generation': '1'}
        for name in names
        if name.startswith(prefix) and startOffset <= name < endOffset
      ]
    }
  ).encode()
