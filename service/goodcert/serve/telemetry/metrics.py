"""Every metric of the service, declared in one object that is given its registry."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from goodcert.serve.batching.batcher import BatchRun

M = TypeVar("M", bound=MetricWrapperBase)

_SECONDS = (
    0.00005,
    0.0001,
    0.0002,
    0.0005,
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_CONFIDENCES = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1)


class MetricRow(NamedTuple):
    """One line of the documentation."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


class Children(dict[tuple[str, ...], Any]):
    """The children of a metric by their label values, as `labels()` looks each up anew, under a lock.

    Benchmark: `goodcert bench serve --nets S`. Without it a certificate, which takes seven of these, costs 4 to
    10 % more processor time at 16 and 64 connections.
    """

    def __init__(self, metric: MetricWrapperBase) -> None:
        super().__init__()
        self._metric = metric

    def __missing__(self, values: tuple[str, ...]) -> Any:
        child = self[values] = self._metric.labels(*values)
        return child


class Metrics:
    """Labels come from fixed sets: served models, verdicts, stages, error codes, HTTP status codes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.rows: list[MetricRow] = []
        self.requests = self._many(
            Counter, "goodcert_requests_total", "Certify requests by HTTP status code.", "model", "code"
        )
        self.images = self._many(
            Counter, "goodcert_images_total", "Images that got a certificate, by verdict.", "model", "verdict"
        )
        self.rejections = self._many(
            Counter, "goodcert_rejections_total", "Problems answered, by their stable code.", "code"
        )
        self.stages = self._many(
            Histogram,
            "goodcert_stage_seconds",
            "Seconds in a stage: decode, queue, crown and total per image, engine per batch.",
            "stage",
            buckets=_SECONDS,
        )
        self.batch_size = self._one(
            Histogram, "goodcert_batch_size", "Images per run of the engine.", buckets=_SIZES
        )
        # A gauge says how the values of several processes become one; `live` leaves out the dead.
        self.queue_items = self._many(
            Gauge, "goodcert_queue_items", "Images waiting for the engine.", "model", multiprocess_mode="livesum"
        )
        self.queue_oldest = self._many(
            Gauge,
            "goodcert_queue_oldest_seconds",
            "How long the image at the head of the queue has waited.",
            "model",
            multiprocess_mode="livemax",
        )
        self.confidence = self._many(
            Histogram, "goodcert_confidence", "Confidence of the prediction.", "model", buckets=_CONFIDENCES
        )
        self.confidence_upper_bound = self._many(
            Histogram,
            "goodcert_confidence_upper_bound",
            "Guaranteed upper bound on the confidence.",
            "model",
            buckets=_CONFIDENCES,
        )
        self.crown_missed = self._one(
            Counter,
            "goodcert_crown_missed_total",
            "Images that auto answered with the bound of ibp for want of time or room for crown.",
        )
        self.ledger_recorded = self._one(
            Counter, "goodcert_ledger_recorded_total", "Certificates that are in the ledger."
        )
        self.ledger_lost = self._one(
            Counter,
            "goodcert_ledger_lost_total",
            "Certificates that were served although the ledger failed. Any is an alarm.",
        )
        self.ledger_seconds = self._one(
            Histogram, "goodcert_ledger_commit_seconds", "Seconds of a transaction.", buckets=_SECONDS
        )
        self.triggers_raised = self._many(
            Counter, "goodcert_triggers_raised_total", "What triggers raised, once it is recorded.", "trigger"
        )
        self.triggers_delivered = self._many(
            Counter, "goodcert_triggers_delivered_total", "Webhooks that were received.", "trigger"
        )
        self.triggers_failed = self._many(
            Counter, "goodcert_triggers_failed_total", "Attempts to deliver a webhook that failed.", "trigger"
        )
        self.triggers_dead = self._many(
            Counter,
            "goodcert_triggers_dead_total",
            "Webhooks that became dead letters, after the last attempt or a 410.",
            "trigger",
        )
        self.triggers_lost = self._many(
            Counter,
            "goodcert_triggers_lost_total",
            "What triggers raised for certificates that were served although the ledger failed. Any is an alarm.",
            "trigger",
        )
        self.trigger_outbox_items = self._many(
            Gauge,
            "goodcert_trigger_outbox_items",
            "Webhooks that wait to be received, as the database has them; looked at every five seconds.",
            "trigger",
            multiprocess_mode="livemax",
        )
        self.trigger_outbox_oldest = self._many(
            Gauge,
            "goodcert_trigger_outbox_oldest_seconds",
            "How long ago the oldest of them was raised.",
            "trigger",
            multiprocess_mode="livemax",
        )
        self.unsound = self._one(
            Counter,
            "goodcert_unsound_total",
            "Images for which the engine contradicted itself. Any is an alarm.",
        )
        self.model_info = self._many(
            Gauge,
            "goodcert_model_info",
            "1 for every served model.",
            "model",
            "version",
            "sha256",
            "method",
            multiprocess_mode="livemax",
        )
        self.model_ready = self._many(
            Gauge,
            "goodcert_model_ready",
            "1 while the model serves in every process, 0 once it was unsound in any, or is no longer there.",
            "model",
            "version",
            multiprocess_mode="livemin",
        )
        self.model_unsound = self._many(
            Gauge,
            "goodcert_model_unsound",
            "1 while the model is out of service in any process because it contradicted itself. Any is an alarm.",
            "model",
            "version",
            multiprocess_mode="livemax",
        )
        self.models_refused = self._one(
            Gauge,
            "goodcert_models_refused",
            "Model files that did not pass the checks at load; the log and GET /v1/models say why.",
            multiprocess_mode="livemax",
        )
        self.build_info = self._many(
            Gauge,
            "goodcert_build_info",
            "1 for the running build.",
            "version",
            "python",
            multiprocess_mode="livemax",
        )
        self.gpu_memory = self._many(
            Gauge,
            "goodcert_gpu_memory_bytes",
            "Memory of the whole GPU, used by whomever, and in total; absent without one.",
            "state",
            multiprocess_mode="livemax",
        )
        self.worker_restarts = self._one(
            Counter, "goodcert_worker_restarts_total", "Workers that ended unasked and were replaced."
        )

    def tell(self, stage: str, listener: Callable[[float], None]) -> None:
        """Tell the seconds of a stage to `listener`, too."""
        self.stages[stage,] = _Told(self.stages[stage,], listener)

    def count_problem(self, code: str) -> None:
        self.rejections[code,].inc()

    def record_run(self, run: BatchRun) -> None:
        """A run of the engine has ended."""
        self.batch_size.observe(run.size)
        self.stages["engine",].observe(run.engine_seconds)
        queue = self.stages["queue",]
        for seconds in run.waited_seconds:
            queue.observe(seconds)

    def record_crown(self, run: BatchRun) -> None:
        """CROWN has bounded an image."""
        self.stages["crown",].observe(run.engine_seconds)
        for seconds in run.waited_seconds:
            self.stages["queue",].observe(seconds)

    def record_commit(self, certificates: int, seconds: float) -> None:
        """A transaction of the ledger has succeeded."""
        self.ledger_recorded.inc(certificates)
        self.ledger_seconds.observe(seconds)

    def record_loss(self, certificates: int, triggers: Iterable[str]) -> None:
        """Certificates were served unrecorded, and what these triggers raised for them is lost."""
        self.ledger_lost.inc(certificates)
        for trigger in triggers:
            self.triggers_lost[trigger,].inc()

    def record_answer(self, model: str, verdict: str, confidence: float, upper: float) -> None:
        """An image has its certificate."""
        self.images[model, verdict].inc()
        self.confidence[model,].observe(confidence)
        self.confidence_upper_bound[model,].observe(upper)

    def _one(self, kind: type[M], name: str, meaning: str, **options: Any) -> M:
        self.rows.append(MetricRow(name, kind.__name__.lower(), (), meaning))
        return kind(name, meaning, registry=self.registry, **options)

    def _many(
        self, kind: type[MetricWrapperBase], name: str, meaning: str, *labels: str, **options: Any
    ) -> Children:
        self.rows.append(MetricRow(name, kind.__name__.lower(), labels, meaning))
        return Children(kind(name, meaning, labels, registry=self.registry, **options))


class _Told:
    """A child of a histogram that tells a listener each observation, too."""

    def __init__(self, child: Any, listener: Callable[[float], None]) -> None:
        self._child = child
        self._listener = listener

    def observe(self, seconds: float) -> None:
        self._child.observe(seconds)
        self._listener(seconds)


def table_markdown() -> str:
    """The table of metrics for the documentation."""
    lines = [
        f"| `{row.name}` | {row.kind} | {', '.join(row.labels) or 'none'} | {row.meaning} |"
        for row in Metrics(CollectorRegistry()).rows
    ]
    return "\n".join(["| Metric | Kind | Labels | Meaning |", "|---|---|---|---|", *lines]) + "\n"
