"""Times on the wire and in the ledger: UTC, to the microsecond, all of one length, so that they sort as texts."""

from datetime import UTC, datetime


def text_of(time: datetime) -> str:
    """time: with a zone."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def parse(text: str) -> str:
    """ISO 8601 in that form; without a zone it is in UTC. Raises ValueError."""
    try:
        time = datetime.fromisoformat(text)
        return text_of(time if time.tzinfo else time.replace(tzinfo=UTC))
    except OverflowError as error:
        raise ValueError(f"got {text}, expected a time after the year 1") from error
