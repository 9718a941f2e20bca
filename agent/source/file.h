/* Source files: all bytes of one version of each, and many of them read ahead. */
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

/* Reads those of `paths` that can be read, and forgets what was read ahead before and not taken.
 * Needs no GIL.  Takes the paths and their array, both malloc'ed. */
void files_read_ahead(char **paths, size_t n);

/* Takes what was read ahead of `path`.  False: nothing was. */
bool file_take(const char *path, struct file_bytes *);

#endif
