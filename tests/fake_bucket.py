"""A bucket of Google Cloud Storage on this machine."""

import base64
from collections.abc import Iterator
import contextlib
import http.server
import json
import os
import pathlib
import re
import threading
import time
import urllib.parse

import google_crc32c


@contextlib.contextmanager
def serve(
  folder: pathlib.Path, *, requests: list[str] | None = None
) -> Iterator[str]:
  """Serves a folder's files as every bucket's; gives the server's address.

  Lists names by prefix; gives a file, a range of it, or what is known of it;
  takes, copies and deletes files, with preconditions on their generations. A
  file's generation is the time at which it was written.

  Args:
    folder: whose files are those of every bucket.
    requests: takes the names of files that were asked for.
  """
  lock = threading.Lock()

  class Handler(http.server.BaseHTTPRequestHandler):
    # Keeps connections.
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
      name, query = self._asked()
      if not name:
        self._answer(200, _list(folder, **query))
        return
      if query.get('alt') != 'media':
        self._answer_of(name, query)
        return
      if requests is not None:
        requests.append(name)
      with lock:
        file = folder / name
        generation = _generation(file)
        content = file.read_bytes() if file.is_file() else None
      if content is None:
        self._answer(404, b'{}')
        return
      if query.get('ifGenerationMatch', generation) != generation:
        self._answer(412, b'{}')
        return
      headers = {'x-goog-generation': generation}
      asked = re.fullmatch(r'bytes=(\d+)-(\d*)', self.headers.get('Range', ''))
      if asked is None or not content:
        self._answer(200, content, headers)
        return
      first, last = int(asked[1]), int(asked[2] or len(content) - 1)
      last = min(last, len(content) - 1)
      headers['Content-Range'] = f'bytes {first}-{last}/{len(content)}'
      self._answer(206, content[first : last + 1], headers)

    def do_POST(self):
      name, query = self._asked()
      body = self.rfile.read(int(self.headers['Content-Length'] or 0))
      if query.get('uploadType') == 'media':
        name, content = query['name'], body
      elif name:
        source, name = re.fullmatch('(.+)/copyTo/b/[^/]+/o/(.+)', name).groups()
        content = (folder / source).read_bytes()
      else:
        metadata, content = _parts(self.headers['Content-Type'], body)
        name = json.loads(metadata)['name']
      with lock:
        file = folder / name
        before = _generation(file)
        if query.get('ifGenerationMatch', before) != before:
          self._answer(412, b'{}')
          return
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        # Later than the one before, also within a microsecond.
        now = max(time.time_ns(), 1000 * (int(before) + 1))
        os.utime(file, ns=(now, now))
      self._answer_of(name, {})

    def do_DELETE(self):
      name, query = self._asked()
      with lock:
        file = folder / name
        before = _generation(file)
        if not file.is_file():
          self._answer(404, b'{}')
        elif query.get('ifGenerationMatch', before) != before:
          self._answer(412, b'{}')
        else:
          file.unlink()
          # A bucket has no folders.
          with contextlib.suppress(OSError):
            for above in file.relative_to(folder).parents[:-1]:
              (folder / above).rmdir()
          self._answer(204, b'')

    def _asked(self):
      url = urllib.parse.urlsplit(self.path)
      query = {k: v[0] for k, v in urllib.parse.parse_qs(url.query).items()}
      match = re.fullmatch(
        r'(?:/download|/upload)?/storage/v1/b/[^/]+/o(?:/(.+))?', url.path
      )
      # Whoever asks for credentials finds no such file.
      name = (match[1] or '') if match else 'credentials'
      return urllib.parse.unquote(name), query

    def _answer_of(self, name, query):
      with lock:
        if not (folder / name).is_file():
          self._answer(404, b'{}')
          return
        facts = _facts(folder, name)
      if (
        query.get('ifGenerationMatch', facts['generation'])
        != (facts['generation'])
      ):
        self._answer(412, b'{}')
        return
      self._answer(200, json.dumps(facts).encode())

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
        _facts(folder, name)
        for name in names
        if name.startswith(prefix) and startOffset <= name < endOffset
      ]
    }
  ).encode()


def _facts(folder: pathlib.Path, name: str) -> dict[str, str]:
  return {
    'name': name,
    'generation': _generation(folder / name),
    'size': str((folder / name).stat().st_size),
    'crc32c': base64.b64encode(
      google_crc32c.Checksum((folder / name).read_bytes()).digest()
    ).decode(),
  }


def _generation(file: pathlib.Path) -> str:
  """0 is none."""
  if not file.is_file():
    return '0'
  # Some golden files have the time 0.
  return str(1 + file.stat().st_mtime_ns // 1000)


def _parts(content_type: str, body: bytes) -> list[bytes]:
  """Of a multipart message."""
  boundary = re.search(r'boundary="?([^"]+)"?', content_type)[1].encode()
  parts = body.split(b'--' + boundary)[1:-1]
  return [part.split(b'\r\n\r\n', 1)[1].removesuffix(b'\r\n') for part in parts]


# Puts the folder in the place of TensorFlow's own access to buckets, which
# knows of no other server than Google's; run it before Orbax is imported.
REDIRECT = """
import os
from etils.epath import backend

class _Folder(backend._OsPathBackend):
  pass

def _redirected(name):
  def call(self, *args, **kwargs):
    found = getattr(backend._OsPathBackend, name)(
      self, *(_here(arg) for arg in args), **kwargs
    )
    return [_there(path) for path in found] if name == 'glob' else found
  return call

def _here(path):
  path = os.fspath(path) if isinstance(path, os.PathLike) else path
  if not (isinstance(path, str) and path.startswith('gs://')):
    return path
  return os.path.join(os.environ['FAKE_BUCKET'], *path.split('/')[3:])

def _there(path):
  return 'gs://bucket' + path.removeprefix(os.environ['FAKE_BUCKET'])

for name in backend.Backend.__abstractmethods__:
  setattr(_Folder, name, _redirected(name))
backend.tf_backend = _Folder()
"""


def environment(url: str, folder: pathlib.Path) -> dict[str, str]:
  """Variables by which a process sees the folder as gs://bucket."""
  return {
    'FAKE_BUCKET': os.fspath(folder),
    'STORAGE_EMULATOR_HOST': url,
    # TensorStore has to know of a server that is not Google's beforehand.
    'TENSORSTORE_GCS_HTTP_URL': url,
    # Neither credentials nor Google's own server to ask for them.
    'GCE_METADATA_ROOT': url.removeprefix('http://'),
  }
