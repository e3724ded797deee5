"""The figures of `goodcert bench serve`: rows, their table, their plot."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low

from matplotlib.figure import Figure

_COLUMNS = ("network", "body", "connections", "server", "no-op server", "engine", "decode + engine", "share",
            "overhead", "p50", "p99")  # fmt: skip


@dataclass(frozen=True)
class ServingRow:
    """One kind of request at so many connections. Milliseconds of processor time a certificate: of the server, of
    a server that does nothing, of the engine alone, of decoding and the engine. Latency: median and 99th
    percentile."""

    net: str
    body: str
    connections: int
    server_ms: float
    noop_ms: float
    engine_ms: float
    decode_engine_ms: float
    p50_ms: float
    p99_ms: float

    @property
    def share(self) -> float:
        """How much of the server's time is decoding and the engine."""
        return self.decode_engine_ms / self.server_ms

    @property
    def overhead_ms(self) -> float:
        """What the server costs beyond decoding and the engine."""
        return self.server_ms - self.decode_engine_ms


def middle(rounds: Sequence[ServingRow]) -> ServingRow:
    """The round whose server time is the median: its figures were measured together."""
    return next(row for row in rounds if row.server_ms == median_low([row.server_ms for row in rounds]))


def table(rows: Iterable[ServingRow]) -> str:
    """The rows as a Markdown table."""
    lines = [
        f"| {' | '.join(_COLUMNS)} |",
        f"|---|---|{'---:|' * (len(_COLUMNS) - 2)}",
    ]
    lines += [
        f"| {r.net} | {r.body} | {r.connections} | {r.server_ms:.3f} | {r.noop_ms:.3f} | {r.engine_ms:.3f} "
        f"| {r.decode_engine_ms:.3f} | {r.share:.0%} | {r.overhead_ms:.3f} | {r.p50_ms:.1f} | {r.p99_ms:.1f} |"
        for r in rows
    ]
    return "\n".join(lines)


def plot(rows: Sequence[ServingRow], path: Path) -> None:
    """A panel a network: the server's time beside its ceilings."""
    nets = list(dict.fromkeys(row.net for row in rows))
    figure = Figure(figsize=(5 * len(nets), 3.6), layout="constrained")
    for axes, net in zip(figure.subplots(1, len(nets), squeeze=False)[0], nets, strict=True):
        chosen = [row for row in rows if row.net == net]
        kinds = {"no-op server": "noop_ms", "engine": "engine_ms", "decode + engine": "decode_engine_ms",
                 "server": "server_ms"}  # fmt: skip
        for place, (kind, field) in enumerate(kinds.items()):
            offsets = [i + 0.2 * place for i in range(len(chosen))]
            axes.bar(offsets, [getattr(row, field) for row in chosen], 0.2, label=kind)
        labels = ["\n".join([str(row.connections), *row.body.split(", ")]) for row in chosen]
        axes.set_xticks([i + 0.3 for i in range(len(chosen))], labels)
        axes.set(title=f"network {net}", xlabel="connections, body", ylabel="CPU ms a certificate")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=120)
