"""Errors and logs tell codes and types: never a traceback, a path, an address, a key, an image."""

import ast
import base64
import logging
import re
import socket
from contextlib import contextmanager
from pathlib import Path

import pytest

from goodcert.serve.admission import keys
from goodcert.serve.core import errors
from goodcert.serve.core.logs import JsonLines, TextLines
from goodcert.serve.http.problems import PROBLEMS, Answers
from hostile_images import chunk, png

SECRET = "s3cr3t"  # noqa: S105  it stands for one
IMAGE = png(before=chunk(b"tEXt", b"Comment\0" + SECRET.encode()))

TRACES = [
    r"Traceback",
    r'File "',
    r"line \d+, in",
    r"\.py\b",
    r"site-packages",
    r"0x[0-9a-f]{6,}",
    r"(?<![\w:])/(home|root|usr|tmp|var|etc|work|opt)/",
    SECRET,
    re.escape(base64.b64encode(IMAGE)[:20].decode()),
    r"\\x89PNG",
    r"IHDR",
]


def assert_discreet(text, *more):
    for pattern in (*TRACES, *map(re.escape, more)):
        found = re.search(pattern, text)
        assert not found, f"{pattern} in ...{text[max(0, found.start() - 100) : found.end() + 100]}"


class _Lines(logging.Handler):
    """Everything that is logged, in both forms, as the service writes it."""

    def __init__(self):
        super().__init__(logging.INFO)
        self.forms = (JsonLines(), TextLines())
        self.lines = []

    def emit(self, record):
        if record.name.startswith("http"):  # the tests' own client
            return
        self.lines += [form.format(record) for form in self.forms]


@pytest.fixture
def log():
    """All that is written to the log, by the service and by uvicorn."""
    handler = _Lines()
    loggers = [logging.getLogger(name) for name in (None, "uvicorn", "uvicorn.error")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    yield handler.lines
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(handler)
        logger.setLevel(level)


def every_error():
    for _, cls in errors.family():
        yield cls(7) if issubclass(cls, errors.RetryLater) else cls(f"{SECRET} /etc/passwd {IMAGE!r}")


@pytest.mark.parametrize("error", list(every_error()), ids=lambda error: type(error).__name__)
def test_no_error_tells_the_caller_its_message(error):
    answer = Answers(lambda _: None).response(error)
    assert_discreet(answer.body.decode() + str(answer.headers))


@pytest.mark.parametrize("error", [OSError("/etc/" + SECRET), KeyError(SECRET), MemoryError(SECRET)])
def test_neither_does_an_error_that_nobody_thought_of(error):
    answer = Answers(lambda _: None).response(error)
    assert answer.status_code == 500
    assert_discreet(answer.body.decode())


def test_every_text_of_a_problem_is_discreet():
    for problem in PROBLEMS:
        assert_discreet(f"{problem.title} {problem.detail}")


CERTIFY = "/v1/models/tiny/certify"
FORM = {"Content-Type": "multipart/form-data; boundary=B"}
PART = f'--B\r\nContent-Disposition: form-data; name="{SECRET}"; filename="/etc/{SECRET}"\r\n\r\nx\r\n--B--\r\n'

# What is asked, and with which answer: most of the codes, each by a request full of secrets.
HEAD = f"POST {CERTIFY} HTTP/1.1\r\nHost: x\r\nX-API-Key: {SECRET}\r\n"
REQUESTS = {
    "bad_request": f"GET {SECRET}\r\n\r\n",
    "headers_too_slow": f"GET /{SECRET} HTTP/1.1\r\nX-API-Key: {SECRET}",
    "body_too_slow": f"{HEAD}Content-Type: image/png\r\nContent-Length: 99\r\n\r\n{SECRET}",
}
ASKED = [
    ("empty_body", "POST", CERTIFY, {"Content-Type": "image/png"}, b""),
    ("malformed_multipart", "POST", CERTIFY, FORM, SECRET.encode()),
    ("no_images", "POST", CERTIFY, FORM, b"--B--\r\n"),
    ("unknown_part", "POST", CERTIFY, FORM, PART.encode()),
    ("not_found", "GET", f"/{SECRET}", {}, None),
    ("unknown_model", "POST", f"/v1/models/{SECRET}/certify", {"Content-Type": "image/png"}, IMAGE),
    ("unknown_model", "GET", f"/v1/models/{SECRET}", {}, None),
    ("method_not_allowed", "PUT", "/v1/models", {}, SECRET.encode()),
    ("body_too_large", "POST", CERTIFY, {"Content-Type": "image/png"}, SECRET.encode() * 10_000),
    ("too_many_pixels", "POST", CERTIFY, {"Content-Type": "image/png"}, png(9999, 9999)),
    ("not_an_image", "POST", CERTIFY, {"Content-Type": "image/png"}, IMAGE[:60]),
    ("not_an_image", "POST", CERTIFY, {"Content-Type": "image/png"}, SECRET.encode()),
    ("unsupported_media_type", "POST", CERTIFY, {"Content-Type": f"text/{SECRET}"}, IMAGE),
    ("bad_epsilon", "POST", f"{CERTIFY}?epsilon={SECRET}", {"Content-Type": "image/png"}, IMAGE),
    ("bad_radius", "POST", f"{CERTIFY}?radius={SECRET}", {"Content-Type": "image/png"}, IMAGE),
    ("method_not_offered", "POST", f"{CERTIFY}?method={SECRET}", {"Content-Type": "image/png"}, IMAGE),
    ("unknown_parameter", "POST", f"{CERTIFY}?{SECRET}=1", {"Content-Type": "image/png"}, IMAGE),
    ("repeated_parameter", "POST", f"{CERTIFY}?epsilon=0&epsilon=0", {"Content-Type": "image/png"}, IMAGE),
    ("wrong_size", "POST", CERTIFY, {"Content-Type": "image/png"}, png(5, 4)),
]  # fmt: skip


def test_no_refusal_over_http_and_no_line_of_the_log_tells_a_secret(start, log, tmp_path):
    told = []
    with start(header_timeout_ms=200, body_timeout_ms=200, max_body_bytes=20_000, access_log=True) as service:
        for code, method, path, headers, body in ASKED:
            answer = service.client.request(method, path, headers=headers, content=body)
            assert answer.json()["code"] == code
            told.append(answer.text + str(answer.headers))
        for code, data in REQUESTS.items():
            answer = _say(service.port, data)
            assert f'"code":"{code}"' in answer
            told.append(answer)
    assert len(told) == len(ASKED) + len(REQUESTS)
    assert_discreet("\n".join(told), str(tmp_path))
    # The access log has the path that was asked for: that is what it is for. Off by default.
    assert_discreet("\n".join(line for line in log if "goodcert.access" not in line), str(tmp_path))


def _say(port, data):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(data.encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer.decode()


def test_no_key_is_told_whether_right_or_wrong_or_spent(start, log, tmp_path):
    file = tmp_path / "keys.json"
    right = keys.create(file, "monitor", ["certify"], requests_per_second=0.001)
    reading = keys.create(file, "reader", ["read"])
    told = []
    with start(keys_file=file) as service:
        for key in (right, right, reading, SECRET):
            answer = service.certify(IMAGE, headers={"X-API-Key": key})
            told.append(answer.text + str(answer.headers))
        file.write_text(SECRET)
    codes = ("", "rate_limited", "scope_missing", "key_wrong")
    assert all(code in text for code, text in zip(codes, told, strict=True))
    everything = "\n".join([*told, *log])
    assert_discreet(everything, right, reading, "monitor", "reader", str(tmp_path))


@contextmanager
def _wrong(service):
    engine = service.engines[0]

    def explode(_):
        raise OSError(f"/etc/{SECRET}: {IMAGE!r}")

    engine.sabotage = explode
    yield
    engine.sabotage = None


def test_a_fault_of_the_engine_is_told_by_its_type_alone(service, log, tmp_path):
    with _wrong(service):
        answer = service.certify(IMAGE)
    assert answer.json()["code"] == "engine_failed"
    assert_discreet(answer.text + str(answer.headers) + "\n".join(log), str(tmp_path))
    assert any("OSError" in line for line in log)


def test_a_fault_that_nobody_thought_of_is_told_by_its_type_alone(service, log, tmp_path, monkeypatch):
    def explode(*_):
        raise RuntimeError(f"/etc/{SECRET}: {IMAGE!r}")

    monkeypatch.setattr("goodcert.serve.certifier.certifier.judge", explode)
    monkeypatch.setattr("goodcert.serve.http.schemas.models_body", explode)
    for answer in (service.certify(IMAGE), service.client.get("/v1/models")):
        assert answer.json()["code"] == "internal_error"
        assert_discreet(answer.text + str(answer.headers))
    assert_discreet("\n".join(log), str(tmp_path))
    assert any("RuntimeError" in line for line in log)


def test_models_that_are_refused_tell_no_path(start, log, tmp_path, write_model, make_graph):
    root = tmp_path / "models"
    write_model(root)
    write_model(root, "crash", graph=make_graph(name="crash"))
    write_model(root, "refuse", graph=make_graph(name="refuse"))
    write_model(root, "torn").write_bytes(SECRET.encode())
    write_model(root, "Bad Name")
    write_model(root, "link").unlink()
    (root / "link" / "1" / "model.onnx").symlink_to("/etc/passwd")
    (root / "empty" / "1").mkdir(parents=True)
    with start() as service:
        answer = service.client.get("/v1/models")
    assert sum(model["state"] == "refused" for model in answer.json()["models"]) == 6
    assert_discreet(answer.text + "\n".join(log), str(tmp_path))


def test_who_connects_is_in_no_line(service, log):
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        port = connection.getsockname()[1]
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        while connection.recv(4096):
            pass
    assert_discreet("\n".join(line for line in log if "running on" not in line), str(port))


# What lines of the log may tell beside their fixed texts; the access log, off by default, tells `extra`. Names of
# models are those of folders, which `plain` cuts to one line; `reason` is for people: hostile files are sent to it
# (test_sandbox, test_strangers), and that of a condemned model has three numbers; `fault` is a type, a status,
# a fixed text or which row of the ledger is damaged in what way, without its contents; `names` are of variables of
# the environment; a `SettingsError` names what keeps a worker from starting, before anybody is served.
TOLD = {
    "name", "version", "self.name", "self.version", "*place.key", "*map(plain, place.key)", "reason",
    "model.engine.device", "worker.pid", "worker.exitcode", "delay", "bound", "letters", "fault", "trigger.name",
    "trigger.model", "type(error).__name__", "error", "self._lifecycle.in_flight", "count", "verb", "len(fresh)",
    "len(self._keys)", "', '.join(names)",
}  # fmt: skip
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}


def logged():
    """Every call that writes to the log, as it is in the source."""
    for path in Path("service").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="log" | "access"), attr=level)) if (
                    level in LEVELS
                ):
                    yield f"{path.name}:{node.lineno}", node


def test_lines_of_the_log_are_fixed_texts_and_tell_nothing_that_was_not_thought_about():
    calls = dict(logged())
    assert len(calls) > 30
    for place, call in calls.items():
        text, *told = call.args
        assert isinstance(text, ast.Constant), place
        assert {ast.unparse(each) for each in told} <= TOLD, place
        assert {keyword.arg for keyword in call.keywords} <= {"extra"}, place


def test_everything_that_is_logged_is_found_by_that_test():
    sources = "".join(path.read_text(encoding="utf-8") for path in Path("service").rglob("*.py"))
    assert set(re.findall(r"(\w+) = logging\.getLogger", sources)) == {"log", "access"}
    assert not re.search(r"\bprint\(|sys\.stderr|logging\.(debug|info|warning|error|exception)\(", sources)
