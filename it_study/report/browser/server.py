"""Serves the browser's page and answers, on this machine alone."""

from collections.abc import Callable, Mapping
import contextlib
import functools
import http.server
import importlib.resources
import json
import sys
import traceback
from typing import Any
import urllib.parse

from it_study.errors import InputError
from it_study.report.browser.index import Index, Query

HOST = '127.0.0.1'
_POLICY = (
  "default-src 'none'; script-src 'self'; style-src 'self'; "
  "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
  "frame-ancestors 'none'"
)
# The report brings its own policy, of the hashes of its scripts; this one keeps
# a report of others from sending what it can read here.
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
  """Makes the server, bound to loopback.

  Args:
    index: of the study to show.
    port: 0 takes a free one.

  Raises:
    InputError: if the port cannot be had.
  """
  _check_port(port)
  try:
    return _Server((HOST, port), functools.partial(_Handler, index))
  except OSError as error:
    raise InputError(
      f'port {port} of {HOST} cannot be used: {error.strerror or error}. Name '
      'another with --port, or leave it out: a free one is then taken.'
    ) from None


def serve(
  study_dir: str,
  *,
  port: int = 0,
  on_start: Callable[[str], None] = lambda url: None,
) -> None:
  """Serves a study's predictions until interrupted.

  Args:
    study_dir: the study folder, finished or not.
    port: 0 takes a free one.
    on_start: called with the page's address.

  Raises:
    InputError: if the folder is no study, or the port cannot be had.
  """
  _check_port(port)
  with (
    make_server(Index(study_dir), port=port) as server,
    contextlib.suppress(KeyboardInterrupt),
  ):
    on_start(f'http://{HOST}:{server.server_port}/')
    server.serve_forever()


def _check_port(port: int) -> None:
  """Raises `InputError` for what is no port; reading a study takes longer."""
  if not 0 <= port <= 65535:
    raise InputError(
      f'--port: found {port}, allowed is 0 to 65535. Leave it out: a free one '
      'is then taken.'
    )


class _Server(http.server.ThreadingHTTPServer):
  daemon_threads = True
  # Another process must not take over a port that is being served.
  allow_reuse_port = False


class _Handler(http.server.BaseHTTPRequestHandler):
  """Answers GET requests whose Host is this machine."""

  protocol_version = 'HTTP/1.1'
  server_version = 'it-study'
  sys_version = ''

  def __init__(self, index: Index, *words, **named):
    self._index = index
    super().__init__(*words, **named)

  def do_GET(self) -> None:
    # A foreign page that points its own name at this machine is not served.
    port = self.server.server_port
    if self.headers.get('Host') not in (f'{HOST}:{port}', f'localhost:{port}'):
      self._send_json(403, {'error': 'this page is served to this machine.'})
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
      self._send_json(404, {'error': 'there is no such page.'})
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
      self._send_json(500, {'error': 'see the terminal for what went wrong.'})

  def log_message(self, *words) -> None:
    """Says nothing: the terminal shows the address alone."""

  def _send_json(self, status: int, value: Mapping[str, Any]) -> None:
    # ASCII alone: a lone surrogate in a text has no other encoding.
    body = json.dumps(value, ensure_ascii=True).encode()
    self._send(status, body, 'application/json')

  def _send_report(self) -> None:
    try:
      body = self._index.report_path.read_bytes()
    except OSError:
      self._send_json(
        404, {'error': "there is no report yet; 'it-study report' writes it."}
      )
      return
    self._send(200, body, 'text/html', policy=_REPORT_POLICY)

  def _redirect(self, cell: str, query: str) -> None:
    """From a file that the report links to, to the page that shows it."""
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
  """The cell whose predictions a path of the study folder is; else None."""
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
    raise InputError(f'{name}: found {text!r:.40}, allowed is a number.')
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
