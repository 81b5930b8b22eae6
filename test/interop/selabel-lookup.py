#!/usr/bin/env python3
"""Labels by libselinux: selabel-lookup.py FILE_CONTEXTS, with a type byte and a path, NUL-terminated, for each question on stdin.

Answers with the label, NUL-terminated; empty when there is none. FILE_CONTEXTS brings its .local, .homedirs, .subs and .subs_dist.
"""

import ctypes
import errno
import stat
import sys


class Option(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("value", ctypes.c_char_p)]


CTX_FILE = 0
OPT_PATH = 3
MODES = {
    b"-": stat.S_IFREG,
    b"d": stat.S_IFDIR,
    b"l": stat.S_IFLNK,
    b"c": stat.S_IFCHR,
    b"b": stat.S_IFBLK,
    b"p": stat.S_IFIFO,
    b"s": stat.S_IFSOCK,
}

lib = ctypes.CDLL("libselinux.so.1", use_errno=True)
lib.selabel_open.restype = ctypes.c_void_p
lib.selabel_open.argtypes = [ctypes.c_uint, ctypes.POINTER(Option), ctypes.c_uint]
lib.selabel_lookup_raw.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_char_p), ctypes.c_char_p, ctypes.c_int]

option = Option(OPT_PATH, sys.argv[1].encode())
handle = lib.selabel_open(CTX_FILE, ctypes.byref(option), 1)
if not handle:
    sys.exit(f"selabel_open: errno {ctypes.get_errno()}")
for question in sys.stdin.buffer.read().split(b"\0")[:-1]:
    context = ctypes.c_char_p()
    if lib.selabel_lookup_raw(handle, ctypes.byref(context), question[1:], MODES[question[:1]]) == 0:
        sys.stdout.buffer.write(context.value + b"\0")
    elif ctypes.get_errno() == errno.ENOENT:
        sys.stdout.buffer.write(b"\0")
    else:
        sys.exit(f"selabel_lookup of {question!r}: errno {ctypes.get_errno()}")
