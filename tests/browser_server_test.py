"""Tests of it_study.browser.server: what is served, to whom, how safely."""

import http.client
import json
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
from urllib.parse import urlencode

import pytest
from report_fixture import DEFINITIONS, add_cell, make_rows, make_study

from it_study import cli
from it_study.browser import index as index_lib
from it_study.browser import server as server_lib

ROOT = pathlib.Path(__file__).parent.parent
MARKUP = '<img src=x onerror="document.title=\'owned\'"><b>bold</b>'


@pytest.fixture(name='served')
def _served(tmp_path):
  study = make_study(
    tmp_path / 'study',
    accuracies=dict.fromkeys(DEFINITIONS[:1], 0.5),
    num_instances=4,
  )
  rows = [
    # A row as a model gone wrong would write it.
    type(row)(**{**row.to_json(), 'prediction': MARKUP, 'inputs': MARKUP})
    for row in make_rows(num_instances=4, test_condition=DEFINITIONS[1])
  ]
  add_cell(study, rows)
  server = server_lib.make_server(index_lib.Index(study))
  thread = threading.Thread(target=server.serve_forever, daemon=True)
  thread.start()
  yield server.server_port
  server.shutdown()
  server.server_close()
  thread.join()


def ask(port, path, *, host=None, method='GET'):
  connection = http.client.HTTPConnection('127.0.0.1', port, timeout=30)
  headers = {'Host': host or f'127.0.0.1:{port}'}
  connection.request(method, path, headers=headers)
  response = connection.getresponse()
  body = response.read()
  connection.close()
  return response, body


def test_the_page_asks_nothing_of_others(served):
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
    ('/../../etc/passwd', 404, 'there is no such page'),
    ('/page.js/../index.py', 404, 'there is no such page'),
  ],
)
def test_what_is_not_there_is_one_line(served, path, status, message):
  response, body = ask(served, path)
  assert response.status == status
  assert message in json.loads(body)['error']


def test_a_number_that_is_none_is_refused(served):
  cell = json.loads(ask(served, '/study')[1])['cells'][0]['cell']
  for value in ('-1', 'x', '1' * 30, '٣'):
    query = urlencode({'cell': cell, 'offset': value})
    response, body = ask(served, f'/rows?{query}')
    assert response.status == 400
    assert 'offset: found' in json.loads(body)['error']


def test_it_is_served_to_this_machine_by_its_own_name_alone(served):
  assert ask(served, '/', host=f'localhost:{served}')[0].status == 200
  for host in ('evil.example', f'evil.example:{served}', '127.0.0.1'):
    response, body = ask(served, '/study', host=host)
    assert response.status == 403
    assert b'cells' not in body
  assert ask(served, '/study', method='POST')[0].status == 501


def test_the_socket_is_bound_to_loopback(served):
  with socket.socket() as other:
    # Another address of this machine, on which nothing must listen.
    assert other.connect_ex(('127.0.0.2', served)) != 0


def test_a_port_in_use_is_one_line(served, tmp_path, capsys):
  assert cli.main(['view', str(tmp_path / 'study'), f'--port={served}']) == 2
  error = capsys.readouterr().err
  assert f'port {served} of 127.0.0.1 cannot be used' in error
  assert cli.main(['view', str(tmp_path / 'study'), '--port=99999']) == 2
  assert cli.main(['view', str(tmp_path / 'nothing')]) == 2
  assert 'no such study folder' in capsys.readouterr().err


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


def test_markup_of_data_stays_text_in_a_real_browser(served):
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
    browser.close()
  assert problems == []
  assert all(url.startswith(f'http://127.0.0.1:{served}/') for url in requests)
