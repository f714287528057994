#!/usr/bin/python3
"""Run a command on Debian's own kernel: a virtual machine in software emulation that shares this machine's files.

    vm.py run [--wall-clock] [--timeout SECONDS] [--out DIRECTORY] -- COMMAND [ARGUMENT ...]
    vm.py kernel

The guest sees this machine's root read-only through 9p, with a tmpfs overlay on top: the checkout stands at the path
it has here, whatever the command writes is gone afterwards, except below $WEIR_VM_OUT, which is copied to --out.
The command's output appears here as it is written; its exit code becomes ours.

By default time is virtual (one instruction = one nanosecond, one CPU): what is measured inside does not depend on
how busy this machine is. --wall-clock gives two CPUs in real time instead.

Exit codes of our own: 124 timed out; 125 the machine did not come up, died, or something to run it is missing.
"""

import argparse
import contextlib
import ctypes
import fcntl
import gzip
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
CACHE = PROJECT / ".cache" / "vm"

TIMED_OUT, MACHINE_FAILED = 124, 125

# What the initramfs needs before the shared root, with every other module, is there.
BOOT_MODULES = ["virtio_pci", "9pnet_virtio", "9p", "overlay"]

PLAIN_KERNEL = re.compile(r"\d+\.\d+\.\d+-\d+-amd64")  # the cloud and rt flavours leave out 9p or change timing


class Missing(Exception):
    """Something that the machine needs is not installed and cannot be had."""


class Kernel:
    """A kernel image and the folder of its modules, `<release>/` with modules.dep in it."""

    def __init__(self, image, modules):
        self.image, self.modules = Path(image), Path(modules)
        self.release = self.modules.name

    def complete(self):
        return self.image.is_file() and (self.modules / "modules.dep").is_file()

    def module_files_in_load_order(self, names):
        """The modules and all they depend on, dependencies first."""
        needs = {}
        for line in (self.modules / "modules.dep").read_text().splitlines():
            path, _, dependencies = line.partition(":")
            needs[Path(path).name.split(".")[0]] = [path, *dependencies.split()]
        ordered = []
        for name in names:
            # A module that is built in has no file and no line: nothing to load.
            # modules.dep lists the direct needs first, the deepest last.
            for path in reversed(needs.get(name, [])):
                if path not in ordered:
                    ordered.append(path)
        return [self.modules / path for path in ordered]


def kernel():
    """The newest plain Debian kernel: from our cache, installed on this machine, or the package's files."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as lock:  # two runs at once must not both unpack
        fcntl.flock(lock, fcntl.LOCK_EX)
        return newest_kernel_below(CACHE / "kernel") or newest_kernel_below(Path("/")) or unpacked_kernel_package()


def newest_kernel_below(root):
    found = []
    for modules in (root / "lib/modules").glob("*-amd64"):
        candidate = Kernel(root / "boot" / f"vmlinuz-{modules.name}", modules)
        if PLAIN_KERNEL.fullmatch(modules.name) and candidate.complete():
            found.append(candidate)
    return max(found, key=lambda k: [int(n) for n in re.findall(r"\d+", k.release)], default=None)


def unpacked_kernel_package():
    """The files of linux-image-amd64 without installing it: this machine's boot set-up is none of our business."""
    about = run_quietly(["apt-cache", "show", "--no-all-versions", "linux-image-amd64"])
    package = re.search(r"^Depends: (linux-image-\S+)", about, re.MULTILINE)
    if not package:
        raise Missing("apt knows no linux-image-amd64 (run apt-get update)")
    print(f"vm: fetching the files of {package[1]}", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        run_quietly(["apt-get", "-q", "download", package[1]], cwd=work)
        [archive] = Path(work).glob("*.deb")
        unpacked = Path(work) / "kernel"
        run_quietly(["dpkg-deb", "--extract", str(archive), str(unpacked)])
        release = next((unpacked / "lib/modules").iterdir()).name
        run_quietly(["depmod", "--basedir", str(unpacked), release])
        shutil.rmtree(CACHE / "kernel", ignore_errors=True)
        unpacked.rename(CACHE / "kernel")
    return newest_kernel_below(CACHE / "kernel")


def run_quietly(command, **options):
    try:
        done = subprocess.run(command, check=True, text=True, capture_output=True, **options)
    except FileNotFoundError:
        raise Missing(f"{command[0]} is not installed") from None
    except subprocess.CalledProcessError as failure:
        raise Missing(f"{shlex.join(command)} failed: {failure.stderr.strip()}") from None
    return done.stdout


class CpioArchive:
    """A "newc" cpio archive, the format of an initramfs (Linux: Documentation/driver-api/early-userspace)."""

    def __init__(self):
        self.data = bytearray()
        self.inode = 0

    def add(self, name, mode, content=b"", device=(0, 0)):
        self.inode += 1
        fields = [self.inode, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name) + 1, 0]
        self.data += b"070701" + "".join(f"{field:08x}" for field in fields).encode() + name.encode() + b"\0"
        self.pad()
        self.data += content
        self.pad()

    def directory(self, name):
        self.add(name, 0o040755)

    def program(self, name, content):
        self.add(name, 0o100755, content)

    def pad(self):
        self.data += b"\0" * (-len(self.data) % 4)

    def finished(self):
        self.add("TRAILER!!!", 0)
        return bytes(self.data)


def initramfs(linux):
    """Just enough to mount this machine's root: busybox, four modules with their needs, and our init."""
    busybox = shutil.which("busybox")
    if not busybox or is_dynamic(busybox):
        raise Missing("busybox-static is not installed")
    archive = CpioArchive()
    for folder in ("bin", "modules", "proc", "sys", "dev", "lower", "rw", "root"):
        archive.directory(folder)
    archive.add("dev/console", 0o020600, device=(5, 1))
    archive.program("bin/busybox", Path(busybox).read_bytes())
    archive.program("init", (HERE / "init.sh").read_bytes())
    for number, module in enumerate(linux.module_files_in_load_order(BOOT_MODULES)):
        archive.add(f"modules/{number:02}-{module.name}", 0o100644, module.read_bytes())
    return gzip.compress(archive.finished(), compresslevel=1)


def is_dynamic(program):
    """An ELF file that asks for the dynamic linker names it in its first page."""
    return b"/ld-linux" in Path(program).read_bytes()[:4096]


def qemu_command(linux, work, options):
    timing = ["-smp", "2"] if options.wall_clock else ["-smp", "1", "-icount", "shift=0,sleep=off", "-rtc", "clock=vm"]
    share = "security_model=none,multidevs=remap"
    return [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-machine", "pc,accel=tcg", "-cpu", "qemu64,+rdrand", "-m", f"{options.memory}M", *timing,
        "-kernel", str(linux.image), "-initrd", f"{work}/initramfs",
        # The TSC is virtual and exact: no need to watch it, nor to spend seconds on mitigations in an emulator.
        "-append", "console=ttyS0 quiet panic=-1 oops=panic mitigations=off tsc=reliable no_timer_check "
                   f"release={linux.release}",
        "-chardev", f"file,id=console,path={work}/console", "-serial", "chardev:console",
        "-chardev", f"file,id=output,path={work}/output", "-serial", "chardev:output",
        "-virtfs", f"local,path=/,mount_tag=machine,readonly=on,{share}",
        "-virtfs", f"local,path={comma_doubled(linux.modules.parent)},mount_tag=modules,readonly=on,{share}",
        "-virtfs", f"local,path={work}/share,mount_tag=share,{share}",
    ]


def comma_doubled(path):
    """QEMU's options end at a comma; a checkout may have one in its path."""
    return str(path).replace(",", ",,")


def die_with_parent():
    """A machine must not outlive us, not even when we are killed outright."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def run(options):
    if os.geteuid() != 0:
        raise Missing("the guest reads this machine's files as root: run as root")
    linux = kernel()
    remove_leftovers()
    work = Path(tempfile.mkdtemp(prefix=f"weir-vm-{os.getpid()}-"))
    try:
        (work / "initramfs").write_bytes(initramfs(linux))
        prepare_share(work / "share", options)
        with contextlib.nullcontext() if options.wall_clock else own_processor():
            machine = start_machine(linux, work, options)
            try:
                ended = follow(machine, work / "output", options.timeout)
            finally:
                machine.kill()
                machine.wait()
        return outcome(work, ended, options)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def own_processor():
    """Keeps us and what we start to a processor that no other machine of this checkout has; where none is left, to all.

    In virtual time the guest's processor and its timers are two threads that wait for one another at each timer: on one of
    our processors they hand over a third more often than on two, and the run is as much sooner done.
    """
    before = os.sched_getaffinity(0)
    with contextlib.ExitStack() as held:
        for processor in sorted(before):
            lock = held.enter_context(open(CACHE / f"processor-{processor}", "w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            os.sched_setaffinity(0, {processor})
            break
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)


def remove_leftovers():
    """Folders of runs that were killed outright; their machines died with them."""
    for folder in Path(tempfile.gettempdir()).glob("weir-vm-*-*"):
        owner = folder.name.split("-")[2]
        if owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(folder, ignore_errors=True)


def start_machine(linux, work, options):
    try:
        return subprocess.Popen(qemu_command(linux, work, options), stdin=subprocess.DEVNULL,
                                preexec_fn=die_with_parent)
    except FileNotFoundError:
        raise Missing("qemu-system-x86_64 is not installed (package qemu-system-x86)") from None


def prepare_share(share, options):
    (share / "out").mkdir(parents=True)
    shutil.copy(HERE / "guest.sh", share / "guest.sh")
    environment = {name: value for name, value in os.environ.items() if name.startswith("WEIR_")}
    environment.update(setting.split("=", 1) for setting in options.env)
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    directory = shlex.quote(os.getcwd())
    (share / "command").write_text(f"{exports}cd {directory} || exit 125\n{shlex.join(options.command)}\n")


def follow(machine, output, timeout):
    """Copy what the guest's command writes until the machine ends; False when it had to be stopped."""
    deadline = time.monotonic() + timeout
    end = os.pidfd_open(machine.pid)
    try:
        shown = 0
        while True:
            # A regular file cannot be waited for: look ten times a second, and at once when the machine ends.
            over = wait_readable(end, 0.1)
            shown = show_from(output, shown)
            if over:
                return True
            if time.monotonic() > deadline:
                return False
    finally:
        os.close(end)


def wait_readable(descriptor, seconds):
    return bool(select.select([descriptor], [], [], seconds)[0])


def show_from(path, offset):
    try:
        with open(path, "rb") as output:
            output.seek(offset)
            new = output.read()
    except FileNotFoundError:
        return offset
    sys.stdout.buffer.write(new)
    sys.stdout.buffer.flush()
    return offset + len(new)


def outcome(work, ended, options):
    if options.out:
        shutil.copytree(work / "share/out", options.out, dirs_exist_ok=True)
    code_file = work / "share/exit-code"
    if ended and code_file.is_file():
        return int(code_file.read_text())
    if ended:
        problem, code = "the machine ended without a result", MACHINE_FAILED
    else:
        problem, code = f"not done after {options.timeout} s, stopped", TIMED_OUT
    kept = CACHE / f"console-{os.getpid()}.log"
    shutil.copy(work / "console", kept)
    print(f"vm: {problem}; its console is in {kept}, the end of it:", file=sys.stderr)
    print("\n".join(kept.read_text(errors="replace").splitlines()[-15:]), file=sys.stderr)
    return code


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("kernel", help="find or fetch the kernel and say where it is")
    runner = verbs.add_parser("run", help="run one command in a fresh machine")
    runner.add_argument("--wall-clock", action="store_true", help="real time and two CPUs instead of virtual time")
    runner.add_argument("--timeout", type=float, default=600, metavar="SECONDS", help="of real time (default 600)")
    runner.add_argument("--memory", type=int, default=1536, metavar="MIB", help="the guest's memory (default 1536)")
    runner.add_argument("--out", type=Path, metavar="DIRECTORY", help="where the files below $WEIR_VM_OUT go")
    runner.add_argument("--env", action="append", default=[], metavar="NAME=VALUE",
                        help="set in the guest; WEIR_* of ours are passed on by themselves")
    runner.add_argument("command", nargs="+", metavar="COMMAND")
    return parser.parse_args()


def stop_on_signal(number, _frame):
    raise SystemExit(128 + number)


def main():
    options = arguments()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop_on_signal)
    try:
        if options.verb == "kernel":
            print(kernel().image)
            return 0
        return run(options)
    except Missing as missing:
        print(f"vm: {missing}", file=sys.stderr)
        return MACHINE_FAILED


if __name__ == "__main__":
    sys.exit(main())
