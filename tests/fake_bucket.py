"""Fake Google Cloud Storage: a local server over a folder."""

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
  """Serves a folder as the contents of every bucket; yields the server's URL.

  Supports listing by prefix, reading a file, a range of it or its metadata, and
  writing, copying and deleting files, with preconditions on generations. A
  file's generation is the time of its last write.

  Args:
    folder: Folder with the files of every bucket.
    requests: List that collects the names of the files that are read; None to
      collect none.
  """
  lock = threading.Lock()

  class Handler(http.server.BaseHTTPRequestHandler):
    # Keeps connections open.
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
      name, query = self._request()
      if not name:
        self._send(200, _list(folder, **query))
        return
      if query.get('alt') != 'media':
        self._send_metadata(name, query)
        return
      if requests is not None:
        requests.append(name)
      with lock:
        file = folder / name
        generation = _generation(file)
        content = file.read_bytes() if file.is_file() else None
      if content is None:
        self._send(404, b'{}')
        return
      if query.get('ifGenerationMatch', generation) != generation:
        self._send(412, b'{}')
        return
      headers = {'x-goog-generation': generation}
      byte_range = re.fullmatch(
        r'bytes=(\d+)-(\d*)', self.headers.get('Range', '')
      )
      if byte_range is None or not content:
        self._send(200, content, headers)
        return
      first, last = int(byte_range[1]), int(byte_range[2] or len(content) - 1)
      last = min(last, len(content) - 1)
      headers['Content-Range'] = f'bytes {first}-{last}/{len(content)}'
      self._send(206, content[first : last + 1], headers)

    def do_POST(self):
      name, query = self._request()
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
          self._send(412, b'{}')
          return
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        # Always later than the last write, even within a microsecond.
        now = max(time.time_ns(), 1000 * (int(before) + 1))
        os.utime(file, ns=(now, now))
      self._send_metadata(name, {})

    def do_DELETE(self):
      name, query = self._request()
      with lock:
        file = folder / name
        before = _generation(file)
        if not file.is_file():
          self._send(404, b'{}')
        elif query.get('ifGenerationMatch', before) != before:
          self._send(412, b'{}')
        else:
          file.unlink()
          # A bucket has no folders: removes those that are empty.
          with contextlib.suppress(OSError):
            for parent in file.relative_to(folder).parents[:-1]:
              (folder / parent).rmdir()
          self._send(204, b'')

    def _request(self):
      url = urllib.parse.urlsplit(self.path)
      query = {k: v[0] for k, v in urllib.parse.parse_qs(url.query).items()}
      match = re.fullmatch(
        r'(?:/download|/upload)?/storage/v1/b/[^/]+/o(?:/(.+))?', url.path
      )
      # Requests for credentials get status 404: there is no such file.
      name = (match[1] or '') if match else 'credentials'
      return urllib.parse.unquote(name), query

    def _send_metadata(self, name, query):
      with lock:
        if not (folder / name).is_file():
          self._send(404, b'{}')
          return
        metadata = _metadata(folder, name)
      generation = metadata['generation']
      if query.get('ifGenerationMatch', generation) != generation:
        self._send(412, b'{}')
        return
      self._send(200, json.dumps(metadata).encode())

    def _send(self, status, content, headers=()):
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
    # Reading a checkpoint opens all tensors at once.
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
        _metadata(folder, name)
        for name in names
        if name.startswith(prefix) and startOffset <= name < endOffset
      ]
    }
  ).encode()


def _metadata(folder: pathlib.Path, name: str) -> dict[str, str]:
  return {
    'name': name,
    'generation': _generation(folder / name),
    'size': str((folder / name).stat().st_size),
    'crc32c': base64.b64encode(
      google_crc32c.Checksum((folder / name).read_bytes()).digest()
    ).decode(),
  }


def _generation(file: pathlib.Path) -> str:
  """Returns a file's generation; 0 if there is no file."""
  if not file.is_file():
    return '0'
  # Plus one, since some golden files have the time 0.
  return str(1 + file.stat().st_mtime_ns // 1000)


def _parts(content_type: str, body: bytes) -> list[bytes]:
  """Returns the contents of the parts of a multipart message."""
  boundary = re.search(r'boundary="?([^"]+)"?', content_type)[1].encode()
  parts = body.split(b'--' + boundary)[1:-1]
  return [part.split(b'\r\n\r\n', 1)[1].removesuffix(b'\r\n') for part in parts]


# Redirects TensorFlow's own access to buckets, which supports no server but
# Google's, to the folder. Must run before Orbax is imported.
REDIRECT = """
import os
from etils.epath import backend

class _Folder(backend._OsPathBackend):
  pass

def _redirected(name):
  def call(self, *args, **kwargs):
    result = getattr(backend._OsPathBackend, name)(
      self, *(_local_path(arg) for arg in args), **kwargs
    )
    return [_bucket_path(path) for path in result] if name == 'glob' else result
  return call

def _local_path(path):
  path = os.fspath(path) if isinstance(path, os.PathLike) else path
  if not (isinstance(path, str) and path.startswith('gs://')):
    return path
  return os.path.join(os.environ['FAKE_BUCKET'], *path.split('/')[3:])

def _bucket_path(path):
  return 'gs://bucket' + path.removeprefix(os.environ['FAKE_BUCKET'])

for name in backend.Backend.__abstractmethods__:
  setattr(_Folder, name, _redirected(name))
backend.tf_backend = _Folder()
"""


def environment(url: str, folder: pathlib.Path) -> dict[str, str]:
  """Returns variables that make a process see the folder as gs://bucket."""
  return {
    'FAKE_BUCKET': os.fspath(folder),
    'STORAGE_EMULATOR_HOST': url,
    # TensorStore takes another server than Google's from the environment only.
    'TENSORSTORE_GCS_HTTP_URL': url,
    # Neither credentials nor Google's server for them.
    'GCE_METADATA_ROOT': url.removeprefix('http://'),
  }
