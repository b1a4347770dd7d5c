"""Serves the page over single predictions, to this machine only."""

from collections.abc import Callable, Mapping
import contextlib
import functools
import http.server
import importlib.resources
import json
import os
import sys
import traceback
from typing import Any
import urllib.parse

from it_study.errors import InputError
from it_study.report.browser.index import Index
from it_study.report.browser.query import Query

HOST = '127.0.0.1'
_POLICY = (
  "default-src 'none'; script-src 'self'; style-src 'self'; "
  "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
  "frame-ancestors 'none'"
)
# Our reports have a stricter policy in the file. This one keeps a file that
# somebody else wrote from sending out what it can read here.
_REPORT_POLICY = (
  "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
  "img-src data: blob:; base-uri 'none'; form-action 'none'; "
  "frame-ancestors 'none'"
)
_REPORT = '/report/index.html'
_FILES = {
  '/': ('page.html', 'text/html'),
  '/page.js': ('page.js', 'text/javascript'),
  '/page.css': ('page.css', 'text/css'),
}
_TRUTH = {'yes': True, 'no': False}


def make_server(
  index: Index, *, port: int = 0
) -> http.server.ThreadingHTTPServer:
  """Creates a server that listens on the loopback interface.

  Args:
    index: Index of the study to show.
    port: Port to listen on; 0 for a free one.

  Raises:
    InputError: If the port is invalid or in use.
  """
  _check_port(port)
  try:
    return _Server((HOST, port), functools.partial(_Handler, index))
  except OSError as error:
    raise InputError(
      f'port {port} of {HOST} cannot be used: {error.strerror or error}. Set '
      'another with --port, or leave it out to use a free port.'
    ) from None


def serve(
  study_dir: str | os.PathLike[str],
  *,
  port: int = 0,
  on_start: Callable[[str], None] = lambda url: None,
) -> None:
  """Serves a study's predictions until interrupted.

  Args:
    study_dir: Study folder, finished or not.
    port: Port to listen on; 0 for a free one.
    on_start: Function called with the address of the page.

  Raises:
    InputError: If the folder is not a study, or the port is invalid or in use.
  """
  _check_port(port)
  with (
    make_server(Index(study_dir), port=port) as server,
    contextlib.suppress(KeyboardInterrupt),
  ):
    on_start(f'http://{HOST}:{server.server_port}/')
    server.serve_forever()


def _check_port(port: int) -> None:
  """Raises `InputError` for an invalid port, before a study is read."""
  if not 0 <= port <= 65535:
    raise InputError(
      f'--port: expected 0 to 65535, got {port}. Leave it out to use a free '
      'port.'
    )


class _Server(http.server.ThreadingHTTPServer):
  daemon_threads = True
  # Another process must not take over a port that is being served.
  allow_reuse_port = False

  def handle_error(self, request: Any, client_address: Any) -> None:
    """Prints a traceback, unless the browser has closed the connection."""
    if not isinstance(sys.exception(), ConnectionError | TimeoutError):
      super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
  """Answers GET requests whose Host header names this machine."""

  server: _Server
  protocol_version = 'HTTP/1.1'
  server_version = 'it-study'
  sys_version = ''

  def __init__(self, index: Index, *args: Any):
    self._index = index
    super().__init__(*args)

  def do_GET(self) -> None:
    """Sends a file, the report, a redirect or an answer in JSON."""
    # Refuses foreign pages whose host name resolves to this machine.
    port = self.server.server_port
    if self.headers.get('Host') not in (f'{HOST}:{port}', f'localhost:{port}'):
      self._send_json(403, {'error': 'only served to this machine.'})
      return
    address = urllib.parse.urlsplit(self.path)
    if address.path in _FILES:
      name, kind = _FILES[address.path]
      self._send(200, _resource(name), kind)
      return
    if address.path == _REPORT:
      self._send_report()
      return
    cell = _linked_cell(address.path)
    if cell is not None:
      self._redirect(cell, address.query)
      return
    answer = _ANSWERS.get(address.path)
    if answer is None:
      self._send_json(404, {'error': 'no such page.'})
      return
    try:
      fields = dict(
        urllib.parse.parse_qsl(address.query, keep_blank_values=True)
      )
      self._send_json(200, answer(self._index, fields))
    except InputError as error:
      self._send_json(400, {'error': str(error)})
    except (ConnectionError, TimeoutError):
      raise
    except Exception:
      traceback.print_exc(file=sys.stderr)
      self._send_json(500, {'error': 'internal error; the terminal shows it.'})

  def log_message(self, format: str, *args: Any) -> None:
    """Does nothing, so that the terminal only shows the address."""

  def _send_json(self, status: int, value: Mapping[str, Any]) -> None:
    # Only ASCII can encode the lone surrogates that texts may hold.
    body = json.dumps(value, ensure_ascii=True).encode()
    self._send(status, body, 'application/json')

  def _send_report(self) -> None:
    try:
      body = self._index.report_path.read_bytes()
    except OSError:
      self._send_json(
        404, {'error': "there is no report yet. Run 'it-study report' first."}
      )
      return
    self._send(200, body, 'text/html', policy=_REPORT_POLICY)

  def _redirect(self, cell: str, query: str) -> None:
    """Redirects from a file that the report links to, to the page."""
    fields = dict(urllib.parse.parse_qsl(query))
    self.send_response(302)
    self.send_header(
      'Location', '/?' + urllib.parse.urlencode({**fields, 'cell': cell})
    )
    self.send_header('Content-Length', '0')
    self.end_headers()

  def _send(
    self, status: int, body: bytes, kind: str, *, policy: str = _POLICY
  ) -> None:
    self.send_response(status)
    for name, value in (
      ('Content-Type', f'{kind}; charset=utf-8'),
      ('Content-Length', str(len(body))),
      ('Content-Security-Policy', policy),
      ('X-Content-Type-Options', 'nosniff'),
      ('Referrer-Policy', 'no-referrer'),
      ('Cross-Origin-Resource-Policy', 'same-origin'),
      ('Cache-Control', 'no-store'),
    ):
      self.send_header(name, value)
    self.end_headers()
    self.wfile.write(body)


def _linked_cell(path: str) -> str | None:
  """Returns the cell whose predictions file a path names, or None."""
  match path.split('/'):
    case ['', 'cells', cell, 'predictions.jsonl']:
      return urllib.parse.unquote(cell)
  return None


def _rows(index: Index, fields: Mapping[str, str]) -> dict[str, Any]:
  return index.rows(
    Query(
      cell=fields.get('cell', ''),
      all_seeds=fields.get('seeds') == 'all',
      text=fields.get('text', ''),
      group=fields.get('group') or None,
      task=fields.get('task') or None,
      category=fields.get('category') or None,
      right=_TRUTH.get(fields.get('right', '')),
      in_format=_TRUTH.get(fields.get('in_format', '')),
      offset=_number(fields, 'offset', 0),
      limit=_number(fields, 'limit', 50),
    )
  )


def _number(fields: Mapping[str, str], name: str, default: int) -> int:
  text = fields.get(name, str(default))
  if not (text.isascii() and text.isdigit() and len(text) < 10):
    raise InputError(f'{name}: expected a number, got {text!r:.40}.')
  return int(text)


_ANSWERS: dict[str, Callable[[Index, Mapping[str, str]], dict[str, Any]]] = {
  '/study': lambda index, fields: index.describe(),
  '/names': lambda index, fields: index.names(fields.get('cell', '')),
  '/rows': _rows,
  '/instance': lambda index, fields: index.instance(
    cell=fields.get('cell', ''),
    task=fields.get('task', ''),
    row_id=fields.get('id', ''),
    all_seeds=fields.get('seeds') == 'all',
  ),
}


@functools.cache
def _resource(name: str) -> bytes:
  return (
    importlib.resources.files('it_study.report.browser') / name
  ).read_bytes()
