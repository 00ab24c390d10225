"""Checkpoints by name, from a server on this machine: whole, resumed, altered, absent."""

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from aiida_mlfc.core import mattersim_download as download
from aiida_mlfc.core.checkpoint_header import CheckpointError
from aiida_mlfc.core.mattersim_download import (
    RELEASES,
    DownloadError,
    Release,
    default_checkpoint,
    fetch,
    find_checkpoint,
)
from aiida_mlfc.core.potentials.mattersim.weights import load_mattersim

from .potentials.mattersim.reference_values import TINY

RELEASE = Release('tiny', 'tiny.pth')


class Server:
    """Serves one file; can break off, refuse, and answer with something else."""

    def __init__(self, content):
        self.content, self.requests = content, []
        #: answers that end after this many bytes, one after the other
        self.break_after = []
        self.status, self.resumes, self.tag = 200, True, '"one"'
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *_):
                pass

        self.httpd = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.thread = threading.Thread(target=self.httpd.serve_forever, kwargs={'poll_interval': 0.02}, daemon=True)
        self.thread.start()
        self.url = f'http://127.0.0.1:{self.httpd.server_address[1]}/models'

    def answer(self, handler):
        wanted = handler.headers.get('Range')
        self.requests.append((handler.path, wanted))
        start, status = 0, self.status
        if status == 200 and wanted and self.resumes and handler.headers.get('If-Range') == self.tag:
            start, status = int(re.fullmatch(r'bytes=(\d+)-', wanted).group(1)), 206
        if status == 206 and start >= len(self.content):
            status = 416
        body = self.content[start:]
        handler.send_response(status)
        handler.send_header('Content-Length', str(len(body)))
        handler.send_header('ETag', self.tag)
        handler.end_headers()
        if self.break_after:
            body = body[: self.break_after.pop(0)]
        handler.wfile.write(body)
        handler.close_connection = True

    def close(self):
        self.httpd.shutdown()
        self.httpd.server_close()
        self.thread.join()


@pytest.fixture
def server():
    server = Server(TINY.read_bytes())
    yield server
    server.close()


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """No variable of the user's, a cache of the test's own, no waiting."""
    for name in (download.CHECKPOINT_VARIABLE, download.SHA256_VARIABLE, download.URL_VARIABLE, 'XDG_CACHE_HOME'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(download.CACHE_VARIABLE, str(tmp_path / 'cache'))
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download.time, 'sleep', lambda seconds: None)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_fetched_once_and_recorded(server):
    path = fetch(RELEASE, base_url=server.url)
    assert path == download.cache_folder() / 'tiny.pth'
    assert path.read_bytes() == server.content
    assert path.with_name('tiny.pth.sha256').read_text() == f'{sha256(server.content)}  tiny.pth\n'
    assert not list(path.parent.glob('*.part*'))
    assert load_mattersim(path).config.units == 16
    assert fetch(RELEASE, base_url=server.url) == path
    assert server.requests == [('/models/tiny.pth', None)]


def test_resumed_after_a_break(server):
    server.break_after = [30_000, 20_000]
    path = fetch(RELEASE, base_url=server.url)
    assert path.read_bytes() == server.content
    assert [wanted for _, wanted in server.requests] == [None, 'bytes=30000-', 'bytes=50000-']


def test_resumed_by_a_later_process(server):
    server.break_after = [30_000]
    with pytest.raises(DownloadError, match='after 30000 of'):
        fetch(RELEASE, base_url=server.url, attempts=1)
    assert fetch(RELEASE, base_url=server.url).read_bytes() == server.content
    assert server.requests[-1][1] == 'bytes=30000-'


@pytest.mark.parametrize('how', ['cannot resume', 'file changed'])
def test_started_over(server, how):
    server.break_after = [30_000]
    with pytest.raises(DownloadError):
        fetch(RELEASE, base_url=server.url, attempts=1)
    if how == 'cannot resume':
        server.resumes = False
    else:
        server.tag = '"two"'
        server.content = server.content + b'?'
    assert fetch(RELEASE, base_url=server.url).read_bytes() == server.content
    assert server.requests[-1][1] == 'bytes=30000-'


def test_started_over_when_more_lies_here_than_there(server):
    server.break_after = [30_000]
    with pytest.raises(DownloadError):
        fetch(RELEASE, base_url=server.url, attempts=1)
    part = download.cache_folder() / 'tiny.pth.part'
    part.write_bytes(b'?' * (len(server.content) + 5))
    assert fetch(RELEASE, base_url=server.url).read_bytes() == server.content
    assert [wanted for _, wanted in server.requests[1:]] == [f'bytes={len(server.content) + 5}-', None]


def test_given_up_after_breaks(server):
    server.break_after = [100] * 4
    with pytest.raises(DownloadError, match='after 4 attempts') as caught:
        fetch(RELEASE, base_url=server.url)
    assert download.CHECKPOINT_VARIABLE in str(caught.value)


def test_expected_checksum(server, monkeypatch):
    with pytest.raises(CheckpointError, match='wanted 00ff'):
        fetch(RELEASE, base_url=server.url, sha256='00ff')
    assert not (download.cache_folder() / 'tiny.pth').exists()
    monkeypatch.setenv(download.SHA256_VARIABLE, sha256(server.content))
    assert fetch(RELEASE, base_url=server.url).is_file()
    with pytest.raises(CheckpointError, match='the value asked for'):
        fetch(RELEASE, base_url=server.url, sha256='00ff')
    pinned = Release('tiny', 'tiny.pth', sha256='11ff')
    monkeypatch.delenv(download.SHA256_VARIABLE)
    with pytest.raises(CheckpointError, match='wanted 11ff'):
        fetch(pinned, base_url=server.url)


def test_changed_after_the_first_use(server):
    path = fetch(RELEASE, base_url=server.url)
    path.write_bytes(server.content[:-1] + b'?')
    with pytest.raises(CheckpointError, match=r'the record tiny.pth.sha256'):
        fetch(RELEASE, base_url=server.url)


def test_a_page_instead_of_a_file(server):
    server.content = b'<html>Please log in</html>'
    with pytest.raises(CheckpointError, match='page of a proxy'):
        fetch(RELEASE, base_url=server.url)
    assert [path.name for path in download.cache_folder().iterdir()] == ['tiny.pth.lock']


def test_absent_on_the_server(server):
    server.status = 404
    with pytest.raises(DownloadError, match='answered 404'):
        fetch(RELEASE, base_url=server.url)
    assert len(server.requests) == 1


def test_offline(server):
    server.httpd.server_close()
    with pytest.raises(DownloadError, match='offline') as caught:
        fetch(RELEASE, base_url=server.url, timeout=2)
    for help_ in (download.CHECKPOINT_VARIABLE, download.URL_VARIABLE, 'tiny.pth'):
        assert help_ in str(caught.value)


@pytest.mark.parametrize('name', ['mattersim-v1.0.0-1m', 'MatterSim-v1.0.0-5M', 'mattersim-v1.0.0-5m.pth'])
def test_published_names(server, monkeypatch, name):
    monkeypatch.setenv(download.URL_VARIABLE, server.url)
    path = find_checkpoint(name)
    size = '1M' if '1m' in name else '5M'
    assert server.requests[0][0] == f'/models/mattersim-v1.0.0-{size}.pth'
    assert path.name == f'mattersim-v1.0.0-{size}.pth'


def test_no_checksum_is_invented():
    """To be changed together with the values, by whoever verified them against the publisher."""
    assert [release.sha256 for release in RELEASES.values()] == [None, None]


def test_paths_and_default(server, monkeypatch, tmp_path):
    assert find_checkpoint(TINY) == TINY
    with pytest.raises(FileNotFoundError, match='neither a file nor one of the published names'):
        find_checkpoint('mattersim-v9')
    monkeypatch.setenv(download.URL_VARIABLE, server.url)
    assert default_checkpoint().name == 'mattersim-v1.0.0-1M.pth'
    monkeypatch.setenv(download.CHECKPOINT_VARIABLE, str(TINY))
    assert default_checkpoint() == TINY
    monkeypatch.setenv(download.CHECKPOINT_VARIABLE, str(tmp_path / 'absent.pth'))
    with pytest.raises(FileNotFoundError, match='MLFC_MATTERSIM_CHECKPOINT'):
        default_checkpoint()


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv(download.CACHE_VARIABLE)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert download.cache_folder() == tmp_path / 'aiida-mlfc' / 'mattersim'
