"""A signal is noted where work can be saved, raised elsewhere, and told by the exit status."""

import os
import pickle
import signal
import socket

import pytest
from filelock import SoftFileLease

from tsmlib.__main__ import main
from tsmlib.engine import interruption, run_folder
from tsmlib.engine.interruption import Interrupted, noted_signals, raised_signals


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 75), ("SIGUSR1", 75), ("SIGINT", 130)])
def test_a_noted_signal_waits_until_it_is_asked_for(name, status):
    number = getattr(signal, name)
    with pytest.raises(Interrupted, match=f"stopped by {name} after a step") as stop, \
            noted_signals():  # fmt: skip
        interruption.stop_if_asked("")
        send(number)
        assert interruption.pending_signal() == number
        interruption.stop_if_asked(" after a step")
    copy = pickle.loads(pickle.dumps(stop.value))  # between processes
    assert copy.status == stop.value.status == status and str(copy) == str(stop.value)
    assert interruption.pending_signal() is None


def test_a_signal_that_nobody_asked_for_is_sent_again():
    with pytest.raises(Interrupted), raised_signals():
        with noted_signals():
            send(signal.SIGTERM)
        pytest.fail("the signal was lost")
    with pytest.raises(KeyboardInterrupt), noted_signals():
        send(signal.SIGINT)
        send(signal.SIGINT)  # impatience
        pytest.fail("it went on")


def test_the_command_says_it_and_ends_with_the_status(monkeypatch, capsys):
    def train(cfg, options):
        send(signal.SIGUSR1)

    monkeypatch.setattr("tsmlib.engine.train.train", train)
    monkeypatch.setattr("tsmlib.study.parents.train_parent", lambda cfg, options: None)
    assert main(["train", "sthv1"]) == 75
    assert capsys.readouterr().err == "stopped by SIGUSR1; the same command continues\n"
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_the_claim_of_a_dead_host_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "CLAIM_SECONDS", 0.3)
    file = tmp_path / "claim"
    with SoftFileLease(file, lease_duration=0.3):
        claim = file.read_text()
    file.write_text(claim.replace(socket.gethostname(), "elsewhere"))  # and never renewed
    with run_folder.run_folder_lock(tmp_path):
        assert "elsewhere" not in file.read_text()
    assert not file.exists()
