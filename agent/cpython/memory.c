/* Block sizes come from pymalloc's pool headers (Objects/obmalloc.c; pycore_obmalloc.h from
 * 3.12), from glibc's chunk headers (malloc/malloc.c), or from the pads that
 * PYTHONMALLOC=debug and debug builds put around a block (Objects/obmalloc.c,
 * _PyMem_DebugRawAlloc: size in big endian, then eight bytes of 0xFD). */
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../big.h"
#include "api.h"
#include "version.h"

enum { POOL_HEADER = 48, N_POOLS = 1 << 16, WINDOW = 1024, BEFORE = 64, FARTHEST = 1 << 14 };

/* struct pool_header, 3.8 to 3.15 */
struct pool_header {
    uint32_t count, pad;
    uintptr_t freeblock, nextpool, prevpool;
    uint32_t arenaindex, szidx, nextoffset, maxnextoffset;
};

enum { PAGE = 4096, N_PAGES = 1 << 11, N_BLOCKS = 1 << 16 };

struct page {
    uintptr_t address;
    unsigned time;
    char bytes[PAGE];
};

/* What memory_block said. */
struct answer {
    uintptr_t address, low, high;
    unsigned time;
    enum block_kind kind;
};

struct peeked {
    struct page pages[N_PAGES];
    struct answer answers[N_BLOCKS];
};

struct pool {
    uintptr_t base;
    uint32_t block; /* bytes; 0: no pool */
};

/* --- mappings */

/* NULL with errno set. */
static char *read_file(const char *path)
{
    size_t n = 0, cap = 1 << 16;
    char *text = malloc(cap);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = -1;

    while (text && fd >= 0 && (got = read(fd, text + n, cap - 1 - n)) > 0) {
        n += (size_t)got;
        if (n + 1 == cap) {
            char *bigger = realloc(text, cap *= 2);

            if (!bigger)
                break;
            text = bigger;
        }
    }
    if (fd >= 0)
        close(fd);
    if (got != 0) {
        free(text);
        return NULL;
    }
    text[n] = '\0';
    return text;
}

struct line {
    struct mapping mapping;
    bool readable, writable, private;
    const char *name;
};

/* The line at *text, which moves on to the next. */
static bool parse_line(char **text, struct line *line)
{
    char *start = *text, *end = strchr(start, '\n');
    char permissions[8];
    int name = 0;

    if (!end)
        return false;
    *end = '\0';
    *text = end + 1;
    memset(line, 0, sizeof *line);
    if (sscanf(start, "%lx-%lx %7s %*s %*s %lu %n", &line->mapping.low, &line->mapping.high,
               permissions, &line->mapping.inode, &name) < 4)
        return false;
    line->name = start + name;
    line->readable = permissions[0] == 'r';
    line->writable = permissions[1] == 'w';
    line->private = permissions[3] == 'p';
    return true;
}

int memory_open(struct memory *memory)
{
    char *text = read_file("/proc/self/maps"), *position = text;
    struct line line;
    size_t lines = 0;

    *memory =
        (struct memory){.pid = getpid(), .file = -1, .under_filter = prctl(PR_GET_SECCOMP) != 0};
    if (!text && errno == ENOMEM) {
        PyErr_NoMemory();
        return -1;
    }
    if (!text) {
        PyErr_SetString(PyExc_OSError, "/proc/self/maps cannot be read");
        return -1;
    }
    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    memory->mappings = big_realloc(NULL, (lines + 1) * sizeof *memory->mappings);
    memory->pools = big_realloc(NULL, N_POOLS * sizeof(struct pool));
    memory->peeked = big_realloc(NULL, sizeof(struct peeked));
    if (!memory->mappings || !memory->pools || !memory->peeked) {
        free(text);
        memory_close(memory);
        PyErr_NoMemory();
        return -1;
    }
    while (parse_line(&position, &line)) {
        /* Stacks are other threads' business; [vvar] and the like are the kernel's. */
        if (line.readable && line.writable && line.private &&
            (line.name[0] != '[' || !strncmp(line.name, "[heap]", 6) ||
             !strncmp(line.name, "[anon", 5)))
            memory->mappings[memory->n++] = line.mapping;
    }
    free(text);
    return 0;
}

void memory_close(struct memory *memory)
{
    if (memory->mappings && memory->file >= 0)
        close(memory->file);
    big_free(memory->mappings);
    big_free(memory->pools);
    big_free(memory->peeked);
    memset(memory, 0, sizeof *memory);
}

const struct mapping *memory_at(struct memory *memory, uintptr_t address)
{
    size_t low = 0, high = memory->n;
    const struct mapping *last = &memory->mappings[memory->last];

    if (memory->n && address >= last->low && address < last->high)
        return last;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct mapping *m = &memory->mappings[middle];

        if (address < m->low)
            high = middle;
        else if (address >= m->high)
            low = middle + 1;
        else {
            memory->last = middle;
            return m;
        }
    }
    return NULL;
}

bool memory_read(struct memory *memory, uintptr_t address, void *bytes, size_t n)
{
    struct iovec here = {bytes, n}, there = {(void *)address, n};

    if (memory->file < 0 && !memory->under_filter) {
        if (process_vm_readv(memory->pid, &here, 1, &there, 1, 0) == (ssize_t)n)
            return true;
        if (errno != EPERM && errno != ENOSYS)
            return false;
    }
    if (memory->file < 0)
        memory->file = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    return memory->file >= 0 && pread(memory->file, bytes, n, (off_t)address) == (ssize_t)n;
}

void memory_forget(struct memory *memory)
{
    memory->time++;
}

static const struct page *page_at(struct memory *memory, uintptr_t address)
{
    struct peeked *peeked = memory->peeked;
    struct page *page = &peeked->pages[address / PAGE % N_PAGES];

    if (page->address == address && page->time == memory->time)
        return page;
    page->address = 0;
    if (!memory_read(memory, address, page->bytes, PAGE))
        return NULL;
    page->address = address;
    page->time = memory->time;
    return page;
}

bool memory_peek(struct memory *memory, uintptr_t address, void *bytes, size_t n)
{
    while (n) {
        const struct page *page = page_at(memory, address - address % PAGE);
        size_t part = PAGE - address % PAGE;

        if (!page)
            return false;
        part = part < n ? part : n;
        memcpy(bytes, page->bytes + address % PAGE, part);
        address += part;
        bytes = (char *)bytes + part;
        n -= part;
    }
    return true;
}

/* --- blocks */

static uintptr_t pool_bytes(void)
{
    return cpython_minor() >= 10 ? 16384 : 4096; /* POOL_SIZE with and without a radix tree */
}

/* The block size of the pool at `base`, or 0. */
static uint32_t pool_block(struct memory *memory, uintptr_t base)
{
    struct pool *pools = memory->pools;
    struct pool *pool = &pools[(base / pool_bytes()) % N_POOLS];
    struct pool_header header;
    uint32_t size;

    if (pool->base == base)
        return pool->block;
    *pool = (struct pool){.base = base};
    if (!memory_peek(memory, base, &header, sizeof header) || header.szidx >= 32)
        return 0;
    size = (header.szidx + 1) * 16;
    if (header.maxnextoffset == pool_bytes() - size && header.nextoffset >= POOL_HEADER &&
        (header.nextoffset - POOL_HEADER) % size == 0 && header.count <= pool_bytes() / size)
        pool->block = size;
    return pool->block;
}

static bool pymalloc_block(struct memory *memory, const struct mapping *m, uintptr_t address,
                           uintptr_t *low, uintptr_t *high)
{
    uintptr_t base = address & ~(pool_bytes() - 1);
    uint32_t size;

    if (base < m->low || base + pool_bytes() > m->high || address < base + POOL_HEADER)
        return false;
    size = pool_block(memory, base);
    if (!size)
        return false;
    *low = address - (address - base - POOL_HEADER) % size;
    *high = *low + size;
    return *high <= base + pool_bytes();
}

/* `address` is what a debug allocator returned. */
static bool debug_block(struct memory *memory, const struct mapping *m, uintptr_t address,
                        uintptr_t *low, uintptr_t *high)
{
    unsigned char pads[16];
    uint64_t size = 0;

    if (address % 16 || address - m->low < 16 ||
        !memory_peek(memory, address - 16, pads, sizeof pads))
        return false;
    for (int i = 0; i < 8; i++)
        size = size << 8 | pads[i];
    for (int i = 9; i < 16; i++) /* pads[8] is the allocator's letter */
        if (pads[i] != 0xFD)
            return false;
    if (size > m->high - address)
        return false;
    *low = address;
    *high = address + size;
    return true;
}

/* What is before a chunk: the size of the one before it if that is free, else nothing of malloc's.
 */
struct chunk {
    size_t before, head;
};

enum { CHUNK_FLAGS = 15, PREV_INUSE = 1, IS_MMAPPED = 2, NEVER_SET = 8 };

/* The size of the chunk at `at`, or 0 if there can be none: it would not end in its mapping, or the
 * one before it would have another size (malloc/malloc.c). */
static size_t chunk_size(struct memory *memory, const struct mapping *m, uintptr_t at,
                         struct chunk *chunk)
{
    size_t size, before;

    if (at - m->low > m->high - m->low - 32 || !memory_peek(memory, at, chunk, sizeof *chunk))
        return 0;
    size = chunk->head & ~(size_t)CHUNK_FLAGS;
    if (chunk->head & NEVER_SET || size < 32 || size > m->high - at)
        return 0;
    if (chunk->head & (PREV_INUSE | IS_MMAPPED))
        return size;
    if (chunk->before % 16 || chunk->before < 32 || chunk->before > at - m->low ||
        !memory_peek(memory, at - chunk->before + 8, &before, sizeof before))
        return 0;
    return (before & ~(size_t)CHUNK_FLAGS) == chunk->before ? size : 0;
}

/* `address` is what malloc returned, if the header of the chunk behind it, and of that behind that
 * one, can be such; the last one of all ends the mapping. */
static bool glibc_block(struct memory *memory, const struct mapping *m, uintptr_t address,
                        uintptr_t *low, uintptr_t *high)
{
    uintptr_t at = address - 16;
    struct chunk chunk;
    size_t size;

    if (address % 16 || address - m->low < 16 || !(size = chunk_size(memory, m, at, &chunk)))
        return false;
    *low = address;
    *high = at + size;
    if (chunk.head & IS_MMAPPED)
        return at % PAGE == 0 && size % PAGE == 0;
    at += size;
    size = chunk_size(memory, m, at, &chunk);
    if (!size || !(chunk.head & PREV_INUSE))
        return false;
    *high += 8; /* the next one's field `before` */
    at += size;
    return at == m->high || chunk_size(memory, m, at, &chunk);
}

/* `address` is inside what malloc returned: a table of Rust's hash maps is before what points to
 * it. The nearest header before it that the next two agree with. */
static bool glibc_block_around(struct memory *memory, const struct mapping *m, uintptr_t address,
                               uintptr_t *low, uintptr_t *high)
{
    uintptr_t at = address & ~(uintptr_t)15;
    uintptr_t end = at - m->low > FARTHEST ? at - FARTHEST : m->low + 16;

    for (; at > end; at -= 16)
        if (glibc_block(memory, m, at, low, high) && *high > address)
            return *high - *low <= 2 * FARTHEST;
    return false;
}

static enum block_kind block_of(struct memory *memory, uintptr_t address, uintptr_t *low,
                                uintptr_t *high)
{
    const struct mapping *m = memory_at(memory, address);

    if (!m)
        return BLOCK_NONE;
    if (!m->inode &&
        (pymalloc_block(memory, m, address, low, high) ||
         debug_block(memory, m, address, low, high) || glibc_block(memory, m, address, low, high) ||
         glibc_block_around(memory, m, address, low, high)))
        return BLOCK_EXACT;
    *low = address & ~(uintptr_t)7;
    if (!m->inode)
        *low = *low - m->low > BEFORE ? *low - BEFORE : m->low;
    *high = *low + WINDOW < m->high ? *low + WINDOW : m->high;
    return BLOCK_WINDOW;
}

enum block_kind memory_block(struct memory *memory, uintptr_t address, uintptr_t *low,
                             uintptr_t *high)
{
    struct peeked *peeked = memory->peeked;
    struct answer *answer = &peeked->answers[address / 8 % N_BLOCKS];

    if (answer->address != address || answer->time != memory->time) {
        *answer = (struct answer){.address = address, .time = memory->time};
        answer->kind = block_of(memory, address, &answer->low, &answer->high);
    }
    *low = answer->low;
    *high = answer->high;
    return answer->kind;
}

size_t memory_data_of(uintptr_t code, struct mapping *ranges, size_t n)
{
    char *text = read_file("/proc/self/maps"), *position = text;
    unsigned long inode = 0;
    uintptr_t end = 0; /* of the last range of the file: .bss follows it without a name */
    struct line line;
    size_t found = 0;

    if (!text)
        return 0;
    while (parse_line(&position, &line))
        if (code >= line.mapping.low && code < line.mapping.high)
            inode = line.mapping.inode;
    free(text);
    text = position = inode ? read_file("/proc/self/maps") : NULL;
    while (text && found < n && parse_line(&position, &line)) {
        bool of_file = line.mapping.inode == inode;
        bool bss = end && line.mapping.low == end && !line.mapping.inode;

        if ((of_file || bss) && line.readable && line.writable && line.private)
            ranges[found++] = line.mapping;
        end = of_file ? line.mapping.high : 0;
    }
    free(text);
    return found;
}
