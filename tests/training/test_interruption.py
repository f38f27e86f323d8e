"""Real signals to this process; those to several processes are in test_processes.py."""

import os
import signal

import pytest

from ddrnet.training.interruption import Interruption, resume_command


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_remembered_and_a_second_one_is_not_held_up(number, capfd):
    former = signal.getsignal(number)
    with Interruption() as interrupted:
        assert not interrupted()
        os.kill(os.getpid(), number)
        assert interrupted()
        assert signal.getsignal(number) == signal.SIG_DFL
    assert signal.getsignal(number) == former
    assert "again to stop at once" in capfd.readouterr().err


def test_the_command_that_continues_names_the_launcher(monkeypatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert resume_command("runs/a b") == "ddrnet train --resume 'runs/a b'"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    expected = "torchrun --nproc-per-node 4 -m ddrnet train --resume runs/a"
    assert resume_command("runs/a") == expected
