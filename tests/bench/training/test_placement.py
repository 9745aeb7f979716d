"""Several processes: whether torchrun started this one."""

from __future__ import annotations

import socket

import pytest

from bench.contracts import UserError
from bench.training.placement import check_launcher


@pytest.mark.parametrize("environment", [{}, {"WORLD_SIZE": "1", "RANK": "0"}, {"LOCAL_RANK": "-1"}, {"RANK": "3"}])
def test_a_process_that_is_alone_is_not_refused(environment):
    check_launcher(environment)


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"WORLD_SIZE": "2", "RANK": "0"}, "RANK=0, WORLD_SIZE=2"),
        ({"LOCAL_RANK": "0"}, "LOCAL_RANK=0"),
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE=many"),
    ],
)
def test_variables_left_over_from_another_job_are_named(environment, named):
    with pytest.raises(
        UserError, match=rf"^the environment has {named}, but torchrun did not start this process; .*unset"
    ):
        check_launcher(environment)


def test_a_torchrun_that_has_ended_is_told_from_one_that_runs():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address, port = listener.getsockname()
        environment = {
            "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "a", "TORCHELASTIC_USE_AGENT_STORE": "True",
            "MASTER_ADDR": address, "MASTER_PORT": str(port),
        }  # fmt: skip
        check_launcher(environment)
    with pytest.raises(UserError, match=rf"MASTER_PORT={port}, TORCHELASTIC_RUN_ID=a, but no torchrun answers there; "):
        check_launcher(environment)
