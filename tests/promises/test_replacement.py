"""A model is replaced under load: every request is answered, by the old version or the new one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from goodcert import zoo
from goodcert.artifact import read, write
from serving import Callers, images, is_ready, serving


def test_a_model_is_replaced_under_load_and_every_request_is_answered(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    shipped = read(zoo.folder() / "mnist-good100" / "1" / "model.onnx")

    def put(version: str, threshold: float) -> None:
        metadata = replace(shipped.metadata, threshold=threshold)
        write(shipped.model, metadata, tmp_path / "mnist-good100" / version / "model.onnx")

    put("1", 0.9)
    flags = ["--threads", "1", "--models", str(tmp_path), "--model-poll-seconds", "0.2"]
    with serving(*flags, "--request-timeout-ms", "60000") as served:
        served.line(is_ready)
        callers = Callers(served.port, images(8), "/v1/models/mnist-good100/certify")
        with callers.calling(8):
            callers.wait_for(50)
            put("2", 0.8)
            for _ in range(1000):
                callers.wait_for(20)
                if "2" in versions(callers):
                    break
            callers.wait_for(50)
    record_property("found", f"8 callers, {callers.found}")
    assert set(callers.asked.values()) == {200}
    thresholds = {(body["model"]["version"], body["threshold"]) for body in callers.answers.values()}
    assert thresholds == {("1", 0.9), ("2", 0.8)}


def versions(callers: Callers) -> set[str]:
    return {body["model"]["version"] for body in list(callers.answers.values())}
