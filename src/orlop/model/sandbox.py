"""What a container may see and do unless told otherwise: mounts, capabilities, paths, system calls. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# podman's list: enough for package managers and servers. Docker's has MKNOD too, which reaches disks where no
# cgroup guards devices, and NET_RAW, which hears the machine's traffic in a shared network.
CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

# system calls that reach the whole machine; the rest is left to capabilities and namespaces
_REFUSED = (
    "acct",
    "add_key",
    "bpf",
    "delete_module",
    "fanotify_init",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "init_module",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pivot_root",
    "quotactl",
    "reboot",
    "request_key",
    "setns",
    "swapoff",
    "swapon",
    "umount",
    "umount2",
    "unshare",
    "userfaultfd",
    "vhangup",
)
_CLONE_NEWUSER = 0x10000000
_ARCHITECTURES = {
    "amd64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "arm64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
}
_EPERM = 1
_ENOSYS = 38


def seccomp(architecture: str) -> dict[str, Any]:
    """A filter that answers EPERM to the calls above, and lets nobody make a user namespace."""
    new_user = {"index": 0, "value": _CLONE_NEWUSER, "valueTwo": _CLONE_NEWUSER, "op": "SCMP_CMP_MASKED_EQ"}
    rules: dict[str, Any] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": list(_REFUSED), "action": "SCMP_ACT_ERRNO", "errnoRet": _EPERM},
            {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": _EPERM, "args": [new_user]},
            # its flags are behind a pointer; libraries fall back to clone when it is not there
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS},
        ],
    }
    if architecture in _ARCHITECTURES:
        rules["architectures"] = _ARCHITECTURES[architecture]
    return rules


def mounts(
    *, rootless: bool, cgroups: bool, own_network: bool, files: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """The mounts of runtime-spec config-linux.md "Default Filesystems", and `files` (source, target) read-only."""
    safe = ["nosuid", "noexec", "nodev"]
    # group 5 is tty; a user namespace with one group has no such number
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] + ([] if rootless else ["gid=5"])
    result = [
        _mount("/proc", "proc", "proc", safe),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", "devpts", pts),
        _mount("/dev/shm", "tmpfs", "shm", [*safe, "mode=1777", "size=65536k"]),  # noqa: S108
        _mount("/dev/mqueue", "mqueue", "mqueue", safe),
        # sysfs can only be mounted by the owner of the network namespace that it shows
        _mount("/sys", "none", "/sys", [*safe, "rbind", "ro"])
        if rootless and not own_network
        else _mount("/sys", "sysfs", "sysfs", [*safe, "ro"]),
    ]
    if cgroups:
        result.append(_mount("/sys/fs/cgroup", "cgroup", "cgroup", [*safe, "relatime", "ro"]))
    result.extend(_mount(target, "bind", source, ["bind", "ro", "nosuid", "nodev"]) for source, target in files)
    return result


def _mount(destination: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": options}
