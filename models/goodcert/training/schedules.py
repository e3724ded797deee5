"""Schedules: functions of the progress of a run, from 0 at its start to 1 at its end."""


def ramp(progress: float, start: float, end: float) -> float:
    """0 before `start`, 1 after `end`, linear between."""
    if end <= start:
        return float(progress >= start)
    return min(max((progress - start) / (end - start), 0.0), 1.0)


def decay(progress: float, milestones: tuple[float, ...], factor: float) -> float:
    """`factor` to the number of milestones that are behind."""
    return factor ** sum(progress >= milestone for milestone in milestones)
