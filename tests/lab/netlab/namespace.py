"""Network namespaces and the processes in them: made under names that tell their owner, and always removed again."""

from __future__ import annotations

import atexit
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PREFIX = "weirlab"
NETNS_DIR = Path("/run/netns")
RUN_DIR = Path("/run")
# In the virtual machine's own time the clock leaps ahead while all wait for a file of a busy host.
PATIENCE = 10 if os.environ.get("WEIR_VM") else 1


class LabError(RuntimeError):
    """A lab could not do what was asked; the message says what was attempted."""


# ---------------------------------------------------------------------------------------------- names that tell owners

def _start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when there is none. Makes a reused pid tell-tale."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rsplit(")", 1)[1].split()[19])


def new_run_name() -> str:
    """weirlab-<pid>-<its start time>-<random>: another run can tell whether its owner still lives."""
    return f"{PREFIX}-{os.getpid()}-{_start_time(os.getpid())}-{secrets.token_hex(3)}"


def _owner_is_dead(name: str) -> bool:
    parts = name.split("-")
    if len(parts) < 4 or parts[0] != PREFIX or not (parts[1].isdigit() and parts[2].isdigit()):
        return False  # not one of ours
    return _start_time(int(parts[1])) != int(parts[2])


def reap_leftovers() -> list[str]:
    """Removes what runs that were killed could not remove themselves. Returns the names."""
    reaped = []
    if NETNS_DIR.is_dir():
        for path in sorted(NETNS_DIR.iterdir()):
            if path.name.startswith(PREFIX + "-") and _owner_is_dead(path.name):
                Namespace(path.name).delete()
                reaped.append(path.name)
    for path in sorted(RUN_DIR.glob(PREFIX + "-*")):
        if _owner_is_dead(path.name):
            remove_run_directory(path)
            reaped.append(str(path))
    return reaped


def remove_run_directory(path: Path) -> None:
    bpf = path / "bpf"
    if os.path.ismount(bpf):
        subprocess.run(["umount", str(bpf)], check=False)
    subprocess.run(["rm", "-rf", "--one-file-system", str(path)], check=False)


# ------------------------------------------------------------------------------------------------------------ clean-up

_at_exit: dict[int, Callable[[], None]] = {}
_next_key = 0


def on_every_exit(action: Callable[[], None]) -> int:
    """Registers `action` for the end of the process, whichever way short of SIGKILL; returns a key to take it back."""
    global _next_key
    if _next_key == 0:
        atexit.register(_run_exit_actions)
        unwind_when_terminated()
    _next_key += 1
    _at_exit[_next_key] = action
    return _next_key


def cancel_exit_action(key: int) -> None:
    _at_exit.pop(key, None)


def unwind_when_terminated() -> None:
    """Makes SIGTERM and SIGHUP end the program the way an exception does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _leave_on_signal)


def _leave_on_signal(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)  # unwinds every `with`


def _run_exit_actions() -> None:
    for key in sorted(_at_exit, reverse=True):
        _at_exit.pop(key)()


class SignalsHeld:
    """While it lasts, Ctrl-C and termination wait: cleaning up is not cut short by impatience."""

    NUMBERS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}

    def __enter__(self) -> None:
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, self.NUMBERS)

    def __exit__(self, *_: object) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)


def wait_until(condition: Callable[[], object], timeout: float, what: str, every: float = 0.02) -> object:
    """The first true value of `condition`; LabError naming `what` when it does not come in time."""
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise LabError(f"waited {timeout * PATIENCE:g} s in vain for {what}")
        time.sleep(every)


# ----------------------------------------------------------------------------------------------------------- processes

class Process:
    """A process that dies with the lab. Its output goes to files, so that it never blocks on a full pipe."""

    def __init__(self, name: str, command: Sequence[str], log_dir: Path, talk: bool = False,
                 env: dict[str, str] | None = None):
        self.name = name
        self.command = list(command)
        self.stderr_path = log_dir / f"{name}.err"
        self.stdout_path = log_dir / f"{name}.out"
        self._talks = talk
        with open(self.stderr_path, "wb") as err, open(self.stdout_path, "wb") as out:
            # A session of its own: Ctrl-C on the terminal reaches the lab only, which then ends its processes in order.
            self._popen = subprocess.Popen(
                self.command, stdin=subprocess.PIPE if talk else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talk else out, stderr=err, start_new_session=True,
                env={**os.environ, **(env or {})})
        if talk:
            self._expect_ready()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def running(self) -> bool:
        return self._popen.poll() is None

    def returncode(self) -> int | None:
        return self._popen.poll()

    def wait(self, timeout: float) -> int:
        try:
            return self._popen.wait(timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} did not end within {timeout:g} s") from None

    def signal(self, number: int) -> None:
        if self.running():
            self._popen.send_signal(number)

    def finish(self, timeout: float = 5.0) -> dict:
        """Ends the input of a tool that answers, and returns the account it closes with."""
        assert self._popen.stdin
        self._popen.stdin.close()
        account = self._read_answer(timeout)
        self.stop(timeout)
        return account

    def stop(self, timeout: float = 5.0) -> int:
        """Asks it to end (end of input, or SIGTERM), then insists."""
        if self._popen.stdin:
            self._popen.stdin.close()
        elif self.running():
            self._popen.terminate()
        try:
            self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        if self._popen.stdout:
            self._popen.stdout.close()
        return self._popen.returncode

    def kill(self) -> None:
        self._popen.kill()
        self._popen.wait()

    def output(self) -> str:
        return self.stdout_path.read_text(errors="replace")

    def errors(self) -> str:
        return self.stderr_path.read_text(errors="replace").strip()

    def ask(self, line: str, timeout: float = 10.0) -> dict:
        """One command to a tool that answers each line with a line of JSON."""
        assert self._talks and self._popen.stdin and self._popen.stdout
        try:
            self._popen.stdin.write(line.encode() + b"\n")
            self._popen.stdin.flush()
        except OSError:
            raise LabError(f"{self.name} is gone: {self.errors()}") from None
        answer = self._read_answer(timeout)
        if "error" in answer:
            raise LabError(f"{self.name} refused '{line}': {answer['error']}")
        return answer

    def _expect_ready(self) -> None:
        if not self._read_answer(10.0).get("ready"):
            raise LabError(f"{self.name} did not start: {self.errors()}")

    def _read_answer(self, timeout: float) -> dict:
        assert self._popen.stdout
        readable, _, _ = select.select([self._popen.stdout], [], [], timeout * PATIENCE)
        line = self._popen.stdout.readline() if readable else b""
        if not line:
            raise LabError(f"{self.name} gave no answer: {self.errors() or 'silent'}")
        return json.loads(line)


class Namespace:
    """One network namespace. Commands run in it with the mounts of the host, so a bpf file system stays visible
    (`ip netns exec` would hide it behind a fresh /sys)."""

    def __init__(self, name: str):
        self.name = name

    def create(self) -> None:
        _checked(["ip", "netns", "add", self.name])

    def delete(self) -> None:
        """Ends whatever still runs inside, then removes the namespace. Safe to repeat."""
        if not (NETNS_DIR / self.name).exists():
            return
        found = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False)
        for pid in found.stdout.split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass
        subprocess.run(["ip", "netns", "delete", self.name], check=False, stderr=subprocess.DEVNULL)

    def wrap(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` inside and ends it should the lab be killed."""
        return ["nsenter", f"--net={NETNS_DIR / self.name}", "setpriv", "--pdeathsig", "KILL", *map(str, command)]

    def run(self, command: Sequence[str], check: bool = True, stdin: str | None = None,
            timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Runs a short command to its end. With `check`, a failure is a LabError with the command's own words."""
        done = subprocess.run(self.wrap(command), input=stdin, capture_output=True, text=True, check=False,
                              timeout=timeout * PATIENCE)
        if check and done.returncode != 0:
            raise LabError(f"in {self.name}: {' '.join(map(str, command))}: "
                           f"exit {done.returncode}: {(done.stderr or done.stdout).strip()}")
        return done

    def json(self, command: Sequence[str]) -> list | dict:
        return json.loads(self.run(command).stdout or "[]")

    def ip(self, lines: str) -> None:
        """A batch of `ip` commands, one a line."""
        done = subprocess.run(["ip", "-n", self.name, "-batch", "-"], input=lines, capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            raise LabError(f"in {self.name}: ip: {done.stderr.strip()}\n{lines}")

    def sysctl(self, settings: dict[str, object]) -> None:
        """Sets what exists on this kernel (paths with slashes, below /proc/sys)."""
        script = "".join(f"[ ! -e /proc/sys/{key} ] || echo '{value}' > /proc/sys/{key}\n"
                         for key, value in settings.items())
        self.run(["sh", "-ec", script])

    def offloads_off(self, *interfaces: str) -> None:
        """Frames on the wire are to be wire-sized and complete: no merging, no late segmentation or checksums."""
        for interface in interfaces:
            self.run(["ethtool", "-K", interface, "tso", "off", "gso", "off", "gro", "off", "tx", "off", "rx", "off"])


def _checked(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def need_root() -> None:
    """Ends the program with a visible skip when it may not make namespaces."""
    if os.geteuid() != 0:
        print("skipped: needs root (network namespaces)")
        sys.exit(0)
