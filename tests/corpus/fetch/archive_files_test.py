"""Tests of archive_files, and of fetches from archives."""

import gzip
import hashlib
import io
import pathlib
import subprocess
import tarfile
import zipfile

import fetch_source
import pytest

from it_study.corpus.fetch import archive_files
from it_study.corpus.fetch.collection import COMMIT, fetch
from it_study.errors import InputError

LIST = 'splits/default/train_tasks.txt'


@pytest.fixture(name='origin', scope='module')
def _origin(tmp_path_factory):
  path = tmp_path_factory.mktemp('archive') / 'origin'
  return path, fetch_source.make_repository(path)


@pytest.fixture(name='pack')
def _pack(origin, tmp_path):
  """Packs the checkout as git, and so the public server, does."""
  path, commit = origin

  def pack(suffix: str, *, what: str = commit, prefix: str = 'ni-55a/'):
    archive = tmp_path / f'archive{suffix}'
    fetch_source.git(
      path, 'archive', f'--prefix={prefix}', f'--output={archive}', what
    )
    return archive

  return pack


def write_tar(path: pathlib.Path, *members) -> pathlib.Path:
  """Writes an archive; members are names of files or `TarInfo`s."""
  with tarfile.open(path, 'w:gz') as archive:
    for member in ('top/tasks/task1.json', f'top/{LIST}', *members):
      content = b'task1\n'
      if isinstance(member, str):
        member = tarfile.TarInfo(member)
        member.size = len(content)
      archive.addfile(member, io.BytesIO(content))
  return path


def link(name: str, kind: bytes, target: str = '/etc/passwd'):
  member = tarfile.TarInfo(name)
  member.type, member.linkname = kind, target
  return member


def write_large(path: pathlib.Path, num_bytes: int) -> pathlib.Path:
  """Writes an archive of one task file of zeros."""
  if path.suffix == '.zip':
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
      archive.writestr('tasks/task1.json', bytes(num_bytes))
    return path
  member = tarfile.TarInfo('tasks/task1.json')
  member.size = num_bytes
  with tarfile.open(path, 'w:gz') as archive:
    archive.addfile(member, io.BytesIO(bytes(num_bytes)))
  return path


def names_in(directory) -> set[str]:
  return {
    path.relative_to(directory).as_posix()
    for path in directory.rglob('*')
    if path.is_file() and '.fetch' not in path.parts
  }


@pytest.mark.parametrize('suffix', ['.tar.gz', '.zip'])
@pytest.mark.parametrize('prefix', ['ni-55a/', ''])
def test_an_archive_is_unpacked_and_identified(
  origin, pack, tmp_path, suffix, prefix
):
  path, commit = origin
  archive = pack(suffix, prefix=prefix)
  sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
  assert archive_files.claimed_commit(archive) == commit
  corpus = tmp_path / 'corpus'
  found = fetch(corpus, source=str(archive), commit=commit, sha256=sha256)
  expected = fetch_source.contents(path)
  assert names_in(corpus) == {*expected, 'SHA256SUMS'}
  assert {n: (corpus / n).read_bytes() for n in expected} == expected
  fetch_source.assert_is_corpus(corpus)
  assert (found.commit, found.archive_sha256) == (None, sha256)
  assert found.fetched == found.files == fetch_source.NUM_FILES
  assert found.warnings == ()
  assert (
    (corpus / 'SHA256SUMS')
    .read_text()
    .startswith(f'# archive {sha256}, tracks: all\n')
  )
  again = fetch(corpus, source=str(archive), commit=commit)
  assert again.fetched == 0
  assert again.warnings == (
    f'{archive} cannot be verified against commit {commit}: it only names that '
    f'commit. Give --sha256 {sha256} to accept this archive only.',
  )


def test_existing_files_are_not_written_again(origin, pack, tmp_path):
  path, commit = origin
  archive = pack('.tar.gz')
  corpus = tmp_path / 'corpus'
  # As after a run that was killed.
  fetch(corpus, source=str(archive), commit=commit)
  (corpus / 'SHA256SUMS').unlink()
  kept = corpus / 'tasks/task000_words.json'
  before = kept.stat().st_ino
  for lost in ('tasks/task040_words.json', LIST):
    (corpus / lost).unlink()
  found = fetch(corpus, source=str(archive), commit=commit)
  assert (found.fetched, found.repaired) == (2, ())
  assert kept.stat().st_ino == before
  kept.write_text('{}')
  found = fetch(corpus, source=str(archive), commit=commit)
  assert found.repaired == ('tasks/task000_words.json',)
  assert kept.read_bytes() == (path / 'tasks/task000_words.json').read_bytes()


@pytest.mark.parametrize('suffix', ['.tar.gz', '.zip'])
def test_one_track_of_an_archive(origin, pack, tmp_path, suffix):
  archive = str(pack(suffix))
  corpus = tmp_path / 'corpus'
  found = fetch(corpus, source=archive, commit=origin[1], track='xlingual')
  assert found.files == 12 + 6
  assert len(list((corpus / 'tasks').iterdir())) == 12
  found = fetch(corpus, source=archive, commit=origin[1])
  assert (found.fetched, found.files) == (48, fetch_source.NUM_FILES)
  # Files of an interrupted fetch of all are not foreign to a track's fetch.
  (corpus / 'SHA256SUMS').unlink()
  found = fetch(corpus, source=archive, commit=origin[1], track='xlingual')
  assert (found.fetched, found.foreign) == (0, ())
  with pytest.raises(InputError, match="Did you mean 'default'"):
    fetch(tmp_path / 'other', source=archive, commit=origin[1], track='defaul')


def test_another_archive_or_commit_than_asked_for(origin, pack, tmp_path):
  path, commit = origin
  archive = pack('.zip')
  sha256 = archive_files.sha256_of(archive)
  with pytest.raises(InputError) as error:
    fetch(tmp_path / 'corpus', source=str(archive), sha256='0' * 64)
  assert str(error.value) == (
    f"{archive}: expected SHA-256 '{'0' * 27}...{'0' * 28}', got {sha256}. The "
    'archive is damaged or a different one; download it again.'
  )
  # The fetch did not start.
  assert not (tmp_path / 'corpus').exists()
  with pytest.raises(InputError) as error:
    fetch(tmp_path / 'corpus', source=str(archive))
  assert str(error.value) == (
    f'{archive}: expected an archive of commit {COMMIT}, but it names commit '
    f'{commit}. If that is the one you want, give --commit {commit}.'
  )
  fetch(tmp_path / 'corpus', source=str(archive), commit=commit)
  with pytest.raises(
    InputError, match=f'holds the files of archive {sha256}, not of commit'
  ):
    fetch(tmp_path / 'corpus', source=str(path), commit=commit)


def test_an_archive_that_names_no_commit(tmp_path):
  archive = write_tar(tmp_path / 'a.tgz')
  found = fetch(tmp_path / 'corpus', source=str(archive))
  assert 'it names no commit. Give --sha256 ' in found.warnings[0]
  assert (tmp_path / 'corpus/tasks/task1.json').read_text() == 'task1\n'


@pytest.mark.parametrize('suffix', ['.tar.gz', '.zip'])
def test_a_damaged_archive_then_the_intact_one(origin, pack, tmp_path, suffix):
  commit = origin[1]
  archive = pack(suffix)
  content = archive.read_bytes()
  archive.write_bytes(content[: len(content) * 2 // 3])
  options = {'source': str(archive), 'commit': commit}
  with pytest.raises(InputError, match='damaged, truncated or not an archive'):
    fetch(tmp_path / 'corpus', **options)
  assert not (tmp_path / 'corpus/SHA256SUMS').exists()
  archive.write_bytes(content)
  assert fetch(tmp_path / 'corpus', **options).files == fetch_source.NUM_FILES
  fetch_source.assert_is_corpus(tmp_path / 'corpus')


def test_a_flipped_byte_in_a_compressed_archive(tmp_path):
  archive = write_tar(tmp_path / 'a.tar.gz')
  content = bytearray(gzip.decompress(archive.read_bytes()))
  whole = gzip.compress(content, compresslevel=0)
  # Not compressed, so that only the checksum at the end reveals the change.
  flipped = whole.replace(b'task1\n', b'task2\n')
  assert flipped != whole
  archive.write_bytes(flipped)
  with pytest.raises(
    InputError, match='damaged, truncated or not an archive: CRC'
  ):
    fetch(tmp_path / 'corpus', source=str(archive))
  assert not (tmp_path / 'corpus/SHA256SUMS').exists()


@pytest.mark.parametrize(
  ('member', 'message'),
  [
    (
      'top/tasks/../../../evil.json',
      "'top/tasks/../../../evil.json' leads out",
    ),
    ('/tmp/tasks/evil.json', "'/tmp/tasks/evil.json' leads out"),
    ('../evil', "'../evil' leads out of the target folder"),
    ('top/tasks\\evil.json', 'leads out of the target folder'),
    (link('top/tasks/evil.json', tarfile.SYMTYPE), 'is a link or a device'),
    (link('top/tasks/evil.json', tarfile.LNKTYPE), 'is a link or a device'),
    (link('top/splits/default/e', tarfile.CHRTYPE), 'is a link or a device'),
    (link('top/README.md', tarfile.FIFOTYPE), 'is a link or a device'),
  ],
)
def test_an_unsafe_member_is_refused(tmp_path, member, message):
  archive = write_tar(tmp_path / 'a.tar.gz', member)
  with pytest.raises(InputError) as error:
    fetch(tmp_path / 'corpus', source=str(archive))
  assert message in str(error.value)
  # A name is refused from the listing, a link when its turn comes.
  before = {LIST, 'tasks/task1.json'} if 'leads out' not in message else set()
  assert names_in(tmp_path / 'corpus') == before
  assert {p.name for p in tmp_path.iterdir()} == {'a.tar.gz', 'corpus'}


def test_a_link_elsewhere_does_not_matter(tmp_path):
  member = link('top/doc/latest', tarfile.SYMTYPE, 'v2')
  archive = write_tar(tmp_path / 'a.tar.gz', member)
  assert fetch(tmp_path / 'corpus', source=str(archive)).files == 2


def test_a_link_and_a_way_out_in_a_zip_file(tmp_path):
  for name, mode, message in (
    ('tasks/task2.json', 0o120777, 'is a link or a device'),
    ('tasks/../../evil.json', 0o100644, 'leads out of the target folder'),
  ):
    archive = tmp_path / 'a.zip'
    with zipfile.ZipFile(archive, 'w') as file:
      file.writestr('tasks/task1.json', '{}')
      member = zipfile.ZipInfo(name)
      member.external_attr = mode << 16
      file.writestr(member, '/etc/passwd')
    with pytest.raises(InputError, match=message):
      fetch(tmp_path / 'corpus', source=str(archive))
    assert names_in(tmp_path / 'corpus') == {'tasks/task1.json'}


def test_files_that_are_not_archives(tmp_path):
  not_found = b'<html>Not found</html>'
  for name, content, message in (
    ('a.tar.gz', not_found, 'damaged, truncated or not an archive'),
    ('a.zip', not_found, 'damaged, truncated or not an archive'),
    ('a.rar', b'', 'is not an archive; expected the URL or directory'),
  ):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
      fetch(tmp_path / 'corpus', source=str(tmp_path / name))
  (tmp_path / 'thesis.txt').write_text('What?')
  subprocess.run(
    ['tar', '-czf', 'other.tgz', 'thesis.txt'], cwd=tmp_path, check=True
  )
  with pytest.raises(
    InputError, match=r'has no tasks/NAME\.json and no splits'
  ):
    fetch(tmp_path / 'corpus', source=str(tmp_path / 'other.tgz'))


@pytest.mark.parametrize('suffix', ['.tar.gz', '.zip'])
def test_an_archive_that_unpacks_to_far_more_is_refused(
  tmp_path, monkeypatch, suffix
):
  monkeypatch.setattr(archive_files, '_SMALL_BYTES', 1 << 20)
  archive = write_large(tmp_path / f'a{suffix}', 4 << 20)
  assert archive.stat().st_size < 6000
  with pytest.raises(InputError) as error:
    fetch(tmp_path / 'corpus', source=str(archive))
  assert str(error.value) == (
    f'{archive}: its 0.0 MB would unpack to more than 1 MB. It was not '
    'unpacked; do not trust this archive. If you do, unpack it yourself and '
    'name the folder as the corpus.'
  )
  assert names_in(tmp_path / 'corpus') == set()
  monkeypatch.setattr(archive_files, '_MOST_TIMES', 2000)
  names = [
    name for name, _ in archive_files.read(archive, selected=lambda name: True)
  ]
  assert names == ['tasks/task1.json']


def test_a_header_cannot_unpack_to_far_more(tmp_path, monkeypatch):
  monkeypatch.setattr(archive_files, '_SMALL_BYTES', 1 << 20)
  path = tmp_path / 'a.tar.gz'
  with tarfile.open(
    path, 'w:gz', pax_headers={'comment': 'x' * (4 << 20)}
  ) as archive:
    archive.addfile(tarfile.TarInfo('tasks/task1.json'))
  with pytest.raises(InputError, match='would unpack to more than 1 MB'):
    archive_files.claimed_commit(path)
