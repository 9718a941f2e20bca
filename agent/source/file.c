/* Reading source files (file.h). */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MAX_SOURCE = 256 << 20,
    READ_TRIES = 10, /* how often a file that is written while it is read is read again */
};

static bool later(struct timespec a, struct timespec b)
{
    return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

/* A link on the way that was made anew points elsewhere since: a release that was switched. */
static void note_links(struct file_bytes *file, const char *path)
{
    char *copy = strdup(path);
    struct stat st;

    for (char *slash = copy; slash; *slash++ = '/') {
        slash = strchr(slash + 1, '/');
        if (!slash)
            break;
        *slash = '\0';
        if (lstat(copy, &st) == 0 && S_ISLNK(st.st_mode) && later(st.st_ctim, file->changed))
            file->changed = st.st_ctim;
    }
    free(copy);
}

static char *read_all(int fd, size_t *length)
{
    size_t cap = 1 << 16, n = 0;
    char *buffer = malloc(cap);

    while (buffer) {
        ssize_t got = read(fd, buffer + n, cap - n);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 || n + (size_t)got > MAX_SOURCE) {
            errno = got < 0 ? errno : EFBIG;
            free(buffer);
            return NULL;
        }
        if (got == 0)
            break;
        n += (size_t)got;
        if (n == cap) {
            char *bigger = realloc(buffer, cap *= 2);

            if (!bigger)
                free(buffer);
            buffer = bigger;
        }
    }
    *length = n;
    return buffer;
}

static bool same_version(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* The bytes of one version of the file: a file that is replaced meanwhile is read to its end
 * (one descriptor, one inode), one that is written meanwhile is read again.  malloc'ed, or
 * NULL with errno. */
static char *read_version(const char *path, size_t *length, struct stat *st)
{
    struct stat after;
    char *text = NULL;
    int fd = -1, tries = 0, error;

    do {
        free(text);
        text = NULL;
        if (fd >= 0)
            close(fd);
        /* O_NONBLOCK: a FIFO in the place of the file must not hold us up. */
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0 || fstat(fd, st) < 0)
            break;
        if (!S_ISREG(st->st_mode)) {
            errno = S_ISDIR(st->st_mode) ? EISDIR : EINVAL;
            break;
        }
        text = read_all(fd, length);
    } while (text && (fstat(fd, &after) < 0 || !same_version(st, &after)) && ++tries < READ_TRIES);
    error = errno;
    if (fd >= 0)
        close(fd);
    errno = error;
    return text;
}

int file_read(const char *path, struct file_bytes *file)
{
    struct stat st;

    file->text = read_version(path, &file->length, &st);
    if (!file->text)
        return -1;
    file->changed = st.st_ctim;
    file->modified = st.st_mtim;
    note_links(file, path);
    return 0;
}

/* --- ahead */

static struct {
    char **paths;
    struct file_ahead {
        struct file_bytes bytes;
        int error; /* 0: it was read */
    } * files;
    size_t n;
    size_t next; /* where to look first: they are asked for in their order */
} ahead;

static void forget(void)
{
    for (size_t i = 0; i < ahead.n; i++) {
        free(ahead.paths[i]);
        if (ahead.files)
            free(ahead.files[i].bytes.text);
    }
    free(ahead.paths);
    free(ahead.files);
    memset(&ahead, 0, sizeof ahead);
}

void files_read_ahead(char **paths, size_t n)
{
    forget();
    ahead.paths = paths;
    ahead.n = n;
    ahead.files = calloc(n ? n : 1, sizeof *ahead.files);
    if (!ahead.files) {
        forget();
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct file_ahead *file = &ahead.files[i];

        file->error = file_read(paths[i], &file->bytes) < 0 ? errno : 0;
    }
}

static const struct file_ahead *find_ahead(const char *path)
{
    for (size_t i = 0; i < ahead.n; i++) {
        size_t at = (ahead.next + i) % ahead.n;

        if (strcmp(ahead.paths[at], path) == 0) {
            ahead.next = at;
            return &ahead.files[at];
        }
    }
    return NULL;
}

bool file_read_before(const char *path, struct file_bytes *file, int *status)
{
    const struct file_ahead *found = find_ahead(path);

    if (!found)
        return false;
    *file = found->bytes;
    errno = found->error;
    if (!found->error) {
        file->text = malloc(file->length + 1);
        if (file->text)
            memcpy(file->text, found->bytes.text, file->length);
    }
    *status = found->error || !file->text ? -1 : 0;
    return true;
}
