/* What can be told from outside about a CPython by reading its memory: version, flavour, and
 * whether it can run code now.  The layouts are in runtime_layout.h. */
#ifndef PYHOT_RUNTIME_H
#define PYHOT_RUNTIME_H

#include "image.h"
#include "python.h"

/* Fills in major, minor, micro and version of a CPython that is served (3.8 or later, with the
 * GIL), or says why it is not.  `py_version`: address of Py_Version, or 0. */
struct error *runtime_version(struct python *, const struct target *, const struct image *,
                              uint64_t py_version) __attribute__((warn_unused_result));

/* Refuses an interpreter that is not initialised yet or is finalizing. */
struct error *runtime_ready(const struct python *, const struct target *)
    __attribute__((warn_unused_result));

/* Has a signal's handler, in any thread, left a note that the main thread has not read yet?  False
 * also if that cannot be known. */
bool runtime_signal_noted(const struct python *, const struct target *);

/* Parses sys.version: "3.10.13 (main, ...) \n[GCC 12.2.0]". */
bool runtime_parse_version(struct python *, const char *text);

/* Parses PY_VERSION_HEX; Include/patchlevel.h. */
void runtime_decode_version(struct python *, uint32_t hex);

#endif
