/* Errors as values: what happened, a word for scripts, what to do next, the exit status.
 *
 * A function that can fail returns `struct error *`; NULL means it did not.  The message is
 * made where the fact is known; callers pass it on.  main.c prints it, once. */
#ifndef PYHOT_ERROR_H
#define PYHOT_ERROR_H

/* DESIGN.md section 5: scripts depend on these. */
enum exit_status {
    EXIT_DONE = 0,
    EXIT_SOURCE_FAILED = 1, /* the new source failed; target unchanged */
    EXIT_USAGE = 2,
    EXIT_CANNOT_ATTACH = 3,
    EXIT_DEADLINE = 4, /* deadline passed; target unchanged */
    EXIT_REFERENCES_LEFT = 5,
    EXIT_STALE = 6,       /* list-stale --exit-code: something is stale */
    EXIT_REPORT_LOST = 7, /* done, or begun and not to be undone, but there is no report */
};

struct error {
    enum exit_status status;
    char *code;    /* a word with hyphens: "no-such-process" */
    char *message; /* one line, without a full stop or newline */
    char *hint;    /* what to do next, or NULL */
};

/* Owned by the caller: error_free.  All text is copied.  Never fails: out of memory gives a
 * static object. */
struct error *error_new(enum exit_status, const char *code, const char *message, ...)
    __attribute__((format(printf, 3, 4), warn_unused_result));

/* As error_new, with ": strerror(errnum)" behind the message. */
struct error *error_errno(enum exit_status, const char *code, int errnum, const char *message, ...)
    __attribute__((format(printf, 4, 5), warn_unused_result));

/* Sets the hint; returns its argument. */
struct error *error_hint(struct error *, const char *hint, ...)
    __attribute__((format(printf, 2, 3)));

void error_free(struct error *);

#endif
