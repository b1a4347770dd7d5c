"""A bucket of Google Cloud Storage on this machine, for those who only read."""

from collections.abc import Iterator
import contextlib
import http.server
import json
import pathlib
import re
import threading
import urllib.parse


@contextlib.contextmanager
def serve(
  folder: pathlib.Path, *, requests: list[str] | None = None
) -> Iterator[str]:
  """Serves a folder's files as every bucket's; gives the server's address.

  Knows two requests: a list of files by prefix, and a file or a range of it. A
  file's generation is the time at which it was written.

  Args:
    folder: whose files are those of every bucket.
    requests: takes the names of files that were asked for.
  """

  class Handler(http.server.BaseHTTPRequestHandler):
    # Keeps connections.
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
      url = urllib.parse.urlsplit(self.path)
      query = {k: v[0] for k, v in urllib.parse.parse_qs(url.query).items()}
      match = re.fullmatch(
        r'(?:/download)?/storage/v1/b/[^/]+/o(?:/(.+))?', url.path
      )
      if match is None:
        self._answer(404, b'{}')
        return
      if match[1] is None:
        self._answer(200, _list(folder, **query))
        return
      name = urllib.parse.unquote(match[1])
      if requests is not None:
        requests.append(name)
      file = folder / name
      if not file.is_file():
        self._answer(404, b'{}')
        return
      generation = _generation(file)
      if query.get('ifGenerationMatch', generation) != generation:
        self._answer(412, b'{}')
        return
      content = file.read_bytes()
      headers = {'x-goog-generation': generation}
      asked = re.fullmatch(r'bytes=(\d+)-(\d*)', self.headers.get('Range', ''))
      if asked is None or not content:
        self._answer(200, content, headers)
        return
      first, last = int(asked[1]), int(asked[2] or len(content) - 1)
      last = min(last, len(content) - 1)
      headers['Content-Range'] = f'bytes {first}-{last}/{len(content)}'
      self._answer(206, content[first : last + 1], headers)

    def _answer(self, status, content, headers=()):
      self.send_response(status)
      self.send_header('Content-Length', str(len(content)))
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
        {
          'name': name,
          'generation': _generation(folder / name),
          'size': str((folder / name).stat().st_size),
        }
        for name in names
        if name.startswith(prefix) and startOffset <= name < endOffset
      ]
    }
  ).encode()


def _generation(file: pathlib.Path) -> str:
  # None is 0, as the time of some golden files is.
  return str(1 + file.stat().st_mtime_ns // 1000)
