"""Independent pieces of work, done by other processes or machines through a `concurrent.futures.Executor`.

What a piece is and what it needs is the caller's business; here pieces go out (`shards`) to those who do them (`executors`),
where each finds what it needs (`at_work`). Nothing is scheduled here: the executor does that.
"""

from amct_lite.workers.executors import GivenWorkers, LocalProcesses, Workers, as_workers, cores, require_picklable
from amct_lite.workers.shards import Task, map_shards

__all__ = [
    "GivenWorkers",
    "LocalProcesses",
    "Task",
    "Workers",
    "as_workers",
    "cores",
    "map_shards",
    "require_picklable",
]
