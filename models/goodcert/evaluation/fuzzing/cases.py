"""A contradiction as files that reproduce it: the model, and the image, the ball and the point beside it."""

import json
from pathlib import Path

import numpy as np
import onnx

from goodcert.engine.engine import Engine
from goodcert.engine.methods import Method
from goodcert.evaluation.fuzzing.evaluators import EVALUATORS
from goodcert.evaluation.fuzzing.search import Balls, Contradiction, against


def save(folder: Path, name: str, model: onnx.ModelProto, contradiction: Contradiction) -> Path:
    """Writes `name.onnx` and `name.json`, of which the path is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / f"{name}.onnx")
    said = {
        "model": f"{name}.onnx",
        "evaluator": contradiction.evaluator,
        "what": contradiction.what,
        "got": contradiction.got,
        "certified": contradiction.bound,
        "epsilon": contradiction.epsilon,
        "method": contradiction.method,
        "image": contradiction.image.tolist(),  # float32 numbers, which JSON keeps
        "point": contradiction.point.tolist(),
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return path


def load(path: Path) -> tuple[onnx.ModelProto, Contradiction]:
    """Of the path that `save` returned."""
    said = json.loads(path.read_text(encoding="utf-8"))
    image, point = (np.array(said[name], np.float32) for name in ("image", "point"))
    method: Method = said["method"]
    numbers = {"got": said["got"], "bound": said["certified"], "epsilon": said["epsilon"]}
    model = onnx.load_model(path.parent / said["model"])
    return model, Contradiction(said["evaluator"], said["what"], image, point=point, method=method, **numbers)


def replay(engine: Engine, model: onnx.ModelProto, case: Contradiction) -> Contradiction | None:
    """The contradiction as it shows now; None where it does not any more."""
    image = case.image[None]
    certificates = engine.certify(image, case.epsilon, case.method)
    ball = Balls(image, case.epsilon, certificates, case.point[None, None])
    evaluate = EVALUATORS[case.evaluator](model)
    found = against(case.evaluator, evaluate, [ball], shares=model.graph.node[-1].op_type == "Softmax")
    return found[0] if found else None
