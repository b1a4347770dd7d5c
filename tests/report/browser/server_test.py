"""Tests of it_study.report.browser.server and its page."""

import http.client
import json
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from urllib.parse import urlencode

import pytest
from report_fixture import DEFINITIONS, add_cell, make_rows, make_study

from it_study import cli
from it_study.report import write_report
from it_study.report.browser import index as index_lib, server as server_lib

ROOT = pathlib.Path(__file__).parents[3]
MARKUP = '<img src=x onerror="document.title=\'owned\'"><b>bold</b>'


@pytest.fixture(name='server')
def _server(tmp_path):
  study = make_study(
    tmp_path / 'study',
    accuracies=dict.fromkeys(DEFINITIONS[:1], 0.5),
    num_instances=4,
  )
  rows = [
    # A row with markup in its texts.
    type(row)(**{**row.to_json(), 'prediction': MARKUP, 'inputs': MARKUP})
    for row in make_rows(num_instances=4, test_condition=DEFINITIONS[1])
  ]
  add_cell(study, rows)
  server = server_lib.make_server(index_lib.Index(study))
  thread = threading.Thread(target=server.serve_forever, daemon=True)
  thread.start()
  yield server
  server.shutdown()
  server.server_close()
  thread.join()


@pytest.fixture(name='served')
def _served(server):
  return server.server_port


def ask(port, path, *, host=None, method='GET'):
  connection = http.client.HTTPConnection('127.0.0.1', port, timeout=30)
  headers = {'Host': host or f'127.0.0.1:{port}'}
  connection.request(method, path, headers=headers)
  response = connection.getresponse()
  body = response.read()
  connection.close()
  return response, body


def test_the_page_requests_nothing_from_other_hosts(served):
  response, body = ask(served, '/')
  assert response.status == 200
  policy = response.getheader('Content-Security-Policy')
  assert policy.startswith("default-src 'none'; script-src 'self'")
  assert 'unsafe' not in policy
  assert b'http' not in body
  for name in ('/page.js', '/page.css'):
    response, body = ask(served, name)
    assert response.status == 200
    assert response.getheader('X-Content-Type-Options') == 'nosniff'
    assert b'http' not in body
  assert b'innerHTML' not in ask(served, '/page.js')[1]


def test_answers_are_json(served):
  study = json.loads(ask(served, '/study')[1])
  cell = study['cells'][0]['cell']
  names = json.loads(ask(served, f'/names?{urlencode({"cell": cell})}')[1])
  assert names['tasks']
  query = urlencode({'cell': cell, 'right': 'yes', 'limit': 3})
  rows = json.loads(ask(served, f'/rows?{query}')[1])
  assert all(row['right'] for row in rows['rows'])
  task, row_id = rows['rows'][0]['key']
  query = urlencode({'cell': cell, 'task': task, 'id': row_id})
  instance = json.loads(ask(served, f'/instance?{query}')[1])
  assert instance['id'] == row_id


@pytest.mark.parametrize(
  ('path', 'status', 'message'),
  [
    ('/rows?cell=none', 400, 'no finished cell none'),
    ('/../../etc/passwd', 404, 'no such page'),
    ('/page.js/../index.py', 404, 'no such page'),
  ],
)
def test_a_missing_page_is_a_one_line_error(served, path, status, message):
  response, body = ask(served, path)
  assert response.status == status
  assert message in json.loads(body)['error']


def test_an_invalid_number_is_refused(served):
  cell = json.loads(ask(served, '/study')[1])['cells'][0]['cell']
  for value in ('-1', 'x', '1' * 30, '٣'):
    query = urlencode({'cell': cell, 'offset': value})
    response, body = ask(served, f'/rows?{query}')
    assert response.status == 400
    assert 'offset: expected a number, got' in json.loads(body)['error']


def test_only_requests_to_a_local_host_name_are_served(served):
  assert ask(served, '/', host=f'localhost:{served}')[0].status == 200
  for host in ('evil.example', f'evil.example:{served}', '127.0.0.1'):
    response, body = ask(served, '/study', host=host)
    assert response.status == 403
    assert b'cells' not in body
  assert ask(served, '/study', method='POST')[0].status == 501


def test_the_socket_is_bound_to_loopback(served):
  with socket.socket() as other:
    # Another address of this machine, where nothing may listen.
    assert other.connect_ex(('127.0.0.2', served)) != 0


def test_a_port_in_use_is_one_line(served, tmp_path, capsys):
  assert cli.main(['view', str(tmp_path / 'study'), f'--port={served}']) == 2
  error = capsys.readouterr().err
  assert f'port {served} of 127.0.0.1 cannot be used' in error
  for port in ('99999', '-1'):
    # A wrong port is reported before a study is read.
    assert cli.main(['view', str(tmp_path / 'nothing'), f'--port={port}']) == 2
    assert capsys.readouterr().err == (
      f'it-study: --port: expected 0 to 65535, got {port}. Leave it out to use '
      'a free port.\n'
    )
  assert cli.main(['view', str(tmp_path / 'nothing')]) == 2
  assert 'no such study folder' in capsys.readouterr().err


def test_a_dropped_connection_prints_nothing(served, capfd, server):
  finished = threading.Event()
  close = server.shutdown_request

  def close_and_tell(request):
    close(request)
    finished.set()

  server.shutdown_request = close_and_tell
  connection = socket.create_connection(('127.0.0.1', served), timeout=30)
  # A reset in the middle of a request, as when a browser closes a tab.
  connection.sendall(b'GET / HTTP/1.1\r\n')
  reset_on_close = struct.pack('ii', 1, 0)
  connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset_on_close)
  connection.close()
  assert finished.wait(30)
  assert capfd.readouterr().err == ''


def test_other_errors_print_a_traceback(server, capfd):
  for error, is_shown in (
    (BrokenPipeError(), False),
    (TimeoutError(), False),
    (ZeroDivisionError(), True),
  ):
    try:
      raise error
    except type(error):
      server.handle_error(None, ('127.0.0.1', 1))
    assert (type(error).__name__ in capfd.readouterr().err) == is_shown


def test_an_interrupt_ends_it_quietly(tmp_path):
  study = make_study(
    tmp_path / 'study', accuracies={DEFINITIONS[0]: 1.0}, num_instances=2
  )
  with subprocess.Popen(
    [sys.executable, '-m', 'it_study.cli', 'view', str(study), '--json'],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    cwd=ROOT,
  ) as process:
    url = json.loads(process.stdout.readline())['url']
    assert url.startswith('http://127.0.0.1:')
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
  assert (process.returncode, error) == (0, '')


def test_a_predictions_file_redirects_to_the_page(served):
  response, body = ask(
    served, '/cells/a%20b/predictions.jsonl?group=overall&task=x%0d%0aSet:y'
  )
  assert (response.status, body) == (302, b'')
  assert response.getheader('Location') == (
    '/?group=overall&task=x%0D%0ASet%3Ay&cell=a+b'
  )
  for path in ('/cells/a/metrics.json', '/cells/a/b/predictions.jsonl'):
    assert ask(served, path)[0].status == 404


def test_the_report_is_served_too(served, tmp_path):
  path = '/report/index.html'
  assert not json.loads(ask(served, '/study')[1])['has_report']
  response, body = ask(served, path)
  assert response.status == 404
  assert "Run 'it-study report' first" in json.loads(body)['error']
  write_report(study_dir=tmp_path / 'study')
  assert json.loads(ask(served, '/study')[1])['has_report']
  response, body = ask(served, path)
  assert body == (tmp_path / 'study' / 'report' / 'index.html').read_bytes()
  # Whatever the file contains, it cannot send data anywhere.
  policy = response.getheader('Content-Security-Policy')
  assert policy.startswith("default-src 'none'; ")
  assert 'connect-src' not in policy


@pytest.fixture(name='browser')
def _browser():
  sync_api = pytest.importorskip(
    'playwright.sync_api', reason='needs playwright'
  )
  chromium = shutil.which('chromium')
  if chromium is None:
    pytest.skip('needs chromium')
  quiet = ('--no-sandbox', '--disable-gpu', '--disable-background-networking')
  with sync_api.sync_playwright() as playwright:
    browser = playwright.chromium.launch(
      executable_path=chromium, args=[*quiet, '--disable-component-update']
    )
    yield browser
    browser.close()


def test_the_address_holds_what_is_shown(served, browser):
  page = browser.new_page()
  page.goto(f'http://127.0.0.1:{served}/?group=classification&right=no&text=3')
  page.wait_for_selector('#status:has-text(", 0.0% right")')
  page.select_option('#right', value='yes')
  page.wait_for_selector('#status:has-text(", 100.0% right")')
  page.locator('#rows button').first.click()
  page.wait_for_selector('#instance table')
  shown = page.text_content('#instance h2')
  link = page.url
  fields = set(link.split('?')[1].split('&'))
  assert {'group=classification', 'right=yes', 'text=3'} < fields
  page.go_back()
  page.wait_for_selector('#instance', state='hidden')
  page.go_back()
  page.wait_for_selector('#status:has-text(", 0.0% right")')
  assert page.input_value('#right') == 'no'
  page.go_forward()
  page.wait_for_selector('#status:has-text(", 100.0% right")')
  assert page.input_value('#right') == 'yes'
  # A link opens the same elsewhere.
  other = browser.new_page()
  other.goto(link)
  other.wait_for_selector('#instance table')
  assert other.text_content('#instance h2') == shown
  assert other.url == link
  assert other.input_value('#text') == '3'
  other.goto(f'http://127.0.0.1:{served}/?task=nowhere')
  other.wait_for_selector('#clear')
  assert other.text_content('#status').startswith('No match: none of the ')
  assert other.input_value('#task') == 'nowhere'
  other.click('#clear')
  other.wait_for_selector('#rows li')


def test_the_page_opens_on_the_headline_cell_and_lists_inputs(served, browser):
  page = browser.new_page()
  page.goto(f'http://127.0.0.1:{served}/')
  page.wait_for_selector('#rows li')
  assert page.text_content('#label') == (
    'Trained on Original definition, 2 examples → tested on Original '
    'definition, 2 examples, test, seed 0'
  )
  first = page.locator('#rows button').first
  lines = first.locator('.meta').all_inner_texts()
  assert lines == ['Reference: yes', 'Input: input 0', 'task000_test']


def test_markup_of_data_stays_text_in_a_real_browser(served, browser):
  page = browser.new_page(viewport={'width': 390, 'height': 844})
  problems, requests = [], []
  page.on('console', lambda message: problems.append(message.text))
  page.on('pageerror', lambda error: problems.append(str(error)))
  page.on('request', lambda request: requests.append(request.url))
  page.goto(f'http://127.0.0.1:{served}/')
  page.wait_for_selector('#rows li')
  label = page.locator('#cell option', has_text='tested on Simplified')
  page.select_option('#cell', value=label.first.get_attribute('value'))
  page.wait_for_selector('#rows :text("<img src=x")')
  page.locator('#rows button').first.click()
  page.wait_for_selector('#instance table')
  assert page.locator('#instance img, #instance b, #rows img').count() == 0
  assert MARKUP in page.text_content('#instance')
  assert page.title() == 'Predictions of study'
  # Nothing is wider than a phone.
  assert page.evaluate('document.documentElement.scrollWidth') == 390
  assert problems == []
  assert all(url.startswith(f'http://127.0.0.1:{served}/') for url in requests)


def test_tables_of_the_report_sort_and_filter(browser, tmp_path):
  study = make_study(tmp_path / 'study', num_instances=3)
  page = browser.new_page()
  # The scripts are five megabytes, and the machine may be busy.
  page.set_default_timeout(120_000)
  problems, requests = [], []
  page.on('console', lambda message: problems.append(message.text))
  page.on('pageerror', lambda error: problems.append(str(error)))
  page.on('request', lambda request: requests.append(request.url))
  page.goto(write_report(study_dir=study)[0].as_uri())
  table = page.locator('table').first
  trained = table.locator('tbody').first.locator('tr:not(.section)')

  def scores():
    cells = trained.locator('td:nth-child(2) a').all_inner_texts()
    return [float(text) for text in cells]

  before = scores()
  assert len(before) == 6
  button = table.locator('thead button', has_text='Exact match').first
  button.click()
  assert scores() == sorted(before, reverse=True)
  button.click()
  assert scores() == sorted(before)
  button.click()
  assert scores() == before
  page.locator('input[type=search]').first.fill('UNTUNED original')
  shown = table.locator('tbody tr:visible th').all_inner_texts()
  assert shown == ['Not trained', 'Untuned, original definition, 2 examples']
  assert len(requests) == 1
  assert problems == []
