"""Puts the calling thread, and what it starts, under a seccomp filter."""

import ctypes
import struct

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_STRICT, MODE_FILTER = 38, 22, 1, 2
LOAD, JUMP_IF_EQUAL, JUMP_IF_SET, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, KILL, TRAP, NOTIFY = 0x7fff0000, 0x80000000, 0x00030000, 0x7fc00000
EPERM, ENOSYS = 0x00050001, 0x00050026
NUMBER, THIRD_ARGUMENT = 0, 32  # offsets in struct seccomp_data
PROT_EXEC = 4

# The x86-64 numbers.
MMAP, FTRUNCATE, ADD_KEY, PIPE2, MEMFD_CREATE, CLONE3 = 9, 77, 248, 293, 319, 435
# What Docker's profile denies without capabilities: ptrace, mount, umount2, swapon, reboot,
# init_module, clock_settime, add_key, request_key, keyctl, unshare, move_pages, perf_event_open,
# open_by_handle_at, setns, process_vm_readv, process_vm_writev, kcmp, bpf, userfaultfd,
# pidfd_getfd, process_madvise
DENIED = [101, 165, 166, 167, 169, 175, 227, 248, 249, 250, 272, 279, 298, 304, 308, 310, 311,
          312, 321, 323, 438, 440]


def prctl(*arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    if libc.prctl(*arguments, *[0] * (5 - len(arguments))) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def install(program):
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    header = ctypes.create_string_buffer(
        struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.addressof(header))


def answer(numbers, action, otherwise=ALLOW):
    """These calls get `action`, all others `otherwise`."""
    program = [(LOAD, 0, 0, NUMBER)]
    for i, number in enumerate(numbers):
        program.append((JUMP_IF_EQUAL, len(numbers) - i, 0, number))
    install(program + [(RETURN, 0, 0, otherwise), (RETURN, 0, 0, action)])


def answer_executable_mmap(action):
    install([(LOAD, 0, 0, NUMBER), (JUMP_IF_EQUAL, 0, 2, MMAP), (LOAD, 0, 0, THIRD_ARGUMENT),
             (JUMP_IF_SET, 1, 0, PROT_EXEC), (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, action)])


def confine():
    """As the default profile of containers."""
    answer(DENIED, EPERM)
    answer([CLONE3], ENOSYS)
