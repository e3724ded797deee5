"""The demo: start the service on loopback, certify the samples through the client, show, clean up."""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from samples import write

from goodcert.cli.table import TableRow, render
from goodcert.client import Client, GoodcertError

START_SECONDS = 120


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo")
    parser.add_argument("--keep", action="store_true", help="leave the service running")
    keep = parser.parse_args().keep
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the service is stopped all the same
    folder = Path(tempfile.mkdtemp(prefix="goodcert-demo-"))
    service, log = start(folder, port=8000 if keep else 0)
    kept = False
    try:
        url = wait_until_ready(service, log)
        show(url, write(folder))
        kept = keep
    except (GoodcertError, TimeoutError) as error:
        print(f"scripts/demo: {error}\n{log.read_text()}", file=sys.stderr)
        return 1
    finally:
        if not kept:
            stop(service)
            shutil.rmtree(folder)
    if kept:
        print(f"\nThe service stays up at {url} (interactive API at {url}/docs; samples and log in {folder}).")
        print(f"Stop it with: kill {service.pid}")
    return 0


def start(folder: Path, port: int) -> tuple[subprocess.Popen[bytes], Path]:
    """The service with its default settings, whatever the environment says, and the file it logs to."""
    log = folder / "service.log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GOODCERT_")}
    with log.open("w") as output:
        service = subprocess.Popen(
            [sys.executable, "-m", "goodcert.cli.main", "serve", "--port", str(port)],
            stdout=output, stderr=output, start_new_session=True, env=environment,
        )  # fmt: skip
    return service, log


def stop(service: subprocess.Popen[bytes]) -> None:
    service.send_signal(signal.SIGINT)  # there is no balancer that would have to look away first
    try:
        service.wait(timeout=30)
    except subprocess.TimeoutExpired:
        service.kill()
        service.wait()


def wait_until_ready(service: subprocess.Popen[bytes], log: Path) -> str:
    """The address of the service, as soon as it certifies."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and service.poll() is None:
        address = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
        if address and is_ready(address.group()):
            return address.group()
        time.sleep(0.1)
    raise TimeoutError(f"the service was not ready after {START_SECONDS} s, or stopped; its log follows")


def is_ready(url: str) -> bool:
    with Client(url, retries=0) as client:
        try:
            return client.ready()
        except GoodcertError:
            return False


def show(url: str, images: list[Path]) -> None:
    with Client(url) as client:
        certificates = [(path.name, client.certify(path)) for path in images]
    first = certificates[0][1]
    print(f"{first.model.name} version {first.model.version} at {url}, epsilon {first.epsilon}, "
          f"threshold {first.threshold:.6f}\n")  # fmt: skip
    print(render([TableRow.of(name, certificate) for name, certificate in certificates]))


if __name__ == "__main__":
    sys.exit(main())
