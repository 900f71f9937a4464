"""`make serve` shows the book below its own path, and says what keeps it from doing so."""

import http.client
import threading

import pytest
import serve

pytestmark = pytest.mark.packaging


@pytest.fixture
def site(tmp_path):
    """Provide a built site of three files."""
    (tmp_path / "index.html").write_text("the book", encoding="utf-8")
    (tmp_path / "404.html").write_text("lost", encoding="utf-8")
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "a.css").write_text("p {}", encoding="utf-8")
    return tmp_path


@pytest.fixture
def ask(site):
    """Provide a function that asks a running server for a path."""
    running = serve.server(site, 0, "/attention-course/")
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()

    def get(path):
        connection = http.client.HTTPConnection("127.0.0.1", running.server_port, timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, answer.headers.get("Location") or text

    yield get
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/attention-course/", 200, "the book"),
        ("/attention-course/_static/a.css?v=1", 200, "p {}"),
        ("/", 302, "/attention-course/"),
        ("/attention-course", 302, "/attention-course/"),
        ("/attention-course/nowhere.html", 404, "lost"),
        ("/index.html", 404, "lost"),
        ("/attention-course/../../etc/passwd", 404, "lost"),
    ],
)
def test_answers_as_the_web_does(ask, path, status, text):
    assert ask(path) == (status, text)


def test_says_that_there_is_no_book(tmp_path, capsys):
    assert serve.main(["0"], tmp_path) == 1
    assert capsys.readouterr().err == "There is no book yet: run make book first.\n"


def test_says_that_the_port_is_taken(site, capsys):
    running = serve.server(site, 0, "/")
    try:
        assert serve.main([str(running.server_port)], site) == 1
    finally:
        running.server_close()
    assert f"Port {running.server_port} is taken: choose another" in capsys.readouterr().err


def test_says_that_there_is_no_such_port(site, capsys):
    assert serve.main(["70000"], site) == 1
    assert "Port 70000 cannot be used" in capsys.readouterr().err
