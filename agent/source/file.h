/* Source files and cached byte code: all bytes of one version of each, and many of them read ahead.
 */
#ifndef PYHOT_SOURCE_FILE_H
#define PYHOT_SOURCE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

struct file_bytes {
    char *text; /* malloc'ed */
    size_t length;
    struct timespec changed;  /* st_ctime, of links on the way too */
    struct timespec modified; /* st_mtime */
};

/* 0, or -1 with errno.  Needs no GIL, and may wait for a disk. */
int file_read(const char *path, struct file_bytes *);

/* Reads all of `paths`, and forgets what was read ahead before.  Needs no GIL.  Takes the paths and
 * their array, both malloc'ed. */
void files_read_ahead(char **paths, size_t n);

/* What file_read gave when `path` was read ahead: sets `*status`, and errno, to that, and copies
 * the bytes.  False: it was not read ahead. */
bool file_read_before(const char *path, struct file_bytes *, int *status);

#endif
