"""What an error of a task means: its refusal, unless the process cannot work at all."""

from dataclasses import dataclass

import pytest

from g3pt.work.engines import Limits, ProcessEngine
from g3pt.work.tasks import Stopwatch, Task, TaskResult, WorkerError


@dataclass(frozen=True, slots=True)
class Failing(Task):
    number: int
    error: Exception

    @property
    def id(self) -> str:
        return f"task {self.number}"

    def work(self, watch: Stopwatch) -> TaskResult:
        with watch.stage("late"):
            raise self.error

    def refusal(self, stage, code, message):
        return {"id": self.id, "stage": stage, "code": code, "message": message}


def test_an_error_is_the_refusal_of_its_task_with_the_stage_it_came_from() -> None:
    result = Failing(3, KeyError("word")).run()
    assert result.is_refused
    assert result.row == {"id": "task 3", "stage": "late", "code": "error", "message": "'word'"}


def test_a_worker_that_cannot_work_ends_the_run_and_blames_no_task() -> None:
    tasks = [Failing(0, WorkerError("no weights here"))]
    with pytest.raises(WorkerError, match="no weights here"):
        tasks[0].run()
    with pytest.raises(WorkerError, match="no weights here"):
        list(ProcessEngine(1, Limits()).run(tasks))
